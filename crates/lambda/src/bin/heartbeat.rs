//! Writes the primary's heartbeat each minute.

use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::Value;
use twinlake_lambda::{Runtime, heartbeat};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let runtime = Runtime::from_environment().await?;
    let runtime = &runtime;
    run(service_fn(move |event: LambdaEvent<Value>| {
        heartbeat(runtime, event)
    }))
    .await
}
