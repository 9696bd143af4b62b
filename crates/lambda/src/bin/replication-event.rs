//! S3's replication notifications, which the source buckets send to a queue of their
//! Region: they are mapped to tables, told, and looked at again each hour.

use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::Value;
use twinlake_lambda::{Start, replication_notices};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let start = Start::from_environment().await?;
    let start = &start;
    run(service_fn(move |event: LambdaEvent<Value>| {
        replication_notices(start, event)
    }))
    .await
}
