//! Maintains the Lake Formation access of Twinlake's roles: in the primary, the grants to read
//! everything; in the standby, the data lake settings. Its role has permissions that no other
//! function has.

use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::Value;
use twinlake_lambda::{Runtime, own_access};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let runtime = Runtime::from_environment().await?;
    let runtime = &runtime;
    run(service_fn(move |event: LambdaEvent<Value>| {
        own_access(runtime, event)
    }))
    .await
}
