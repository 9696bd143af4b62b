//! Checks each 30 minutes what stands between the standby and a takeover, as `twinlake doctor` does. Its
//! role reads buckets, keys and trails that no other function reads.

use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::Value;
use twinlake_lambda::{InspectedInfrastructure, Runtime, readiness};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let runtime = Runtime::from_environment().await?;
    let infrastructure = InspectedInfrastructure::of(&runtime);
    let (runtime, infrastructure) = (&runtime, &infrastructure);
    run(service_fn(move |event: LambdaEvent<Value>| {
        readiness(runtime, infrastructure, event)
    }))
    .await
}
