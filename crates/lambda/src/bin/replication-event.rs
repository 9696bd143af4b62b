//! Handles S3 replication notifications, which the source buckets send to a queue in their Region:
//! maps the objects to tables, publishes alerts, and checks each hour whether missing objects have
//! arrived.

use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::Value;
use twinlake_lambda::{Runtime, replication_notices};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let runtime = Runtime::from_environment().await?;
    let runtime = &runtime;
    run(service_fn(move |event: LambdaEvent<Value>| {
        replication_notices(runtime, event)
    }))
    .await
}
