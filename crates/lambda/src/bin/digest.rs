//! Publishes the daily digest.

use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::Value;
use twinlake_lambda::{Runtime, digest};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let runtime = Runtime::from_environment().await?;
    let runtime = &runtime;
    run(service_fn(move |event: LambdaEvent<Value>| {
        digest(runtime, event)
    }))
    .await
}
