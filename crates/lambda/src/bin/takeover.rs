//! Makes this Region the primary, or undoes that: for the state machine of the stack, and for a plan of ARC Region
//! switch. It uses the machine of `twinlake failover` and `twinlake switchover`.

use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::Value;
use twinlake_lambda::{TakeoverRuntime, takeover};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let runtime = TakeoverRuntime::from_environment()?;
    let runtime = &runtime;
    run(service_fn(move |event: LambdaEvent<Value>| {
        takeover(runtime, event)
    }))
    .await
}
