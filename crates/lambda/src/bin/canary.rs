//! Sends canaries through the S3 replication rules of this Region, and looks for those of its peer.

use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::Value;
use twinlake_lambda::{Runtime, canaries};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let runtime = Runtime::from_environment().await?;
    let runtime = &runtime;
    run(service_fn(move |event: LambdaEvent<Value>| {
        canaries(runtime, event)
    }))
    .await
}
