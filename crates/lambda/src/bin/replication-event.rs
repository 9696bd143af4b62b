//! S3's replication notifications, which the source buckets send to a queue of
//! this Region: each failure becomes an alert.

use aws_lambda_events::sqs::SqsEvent;
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use twinlake_lambda::{Start, replication_notices};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let start = Start::from_environment().await?;
    let start = &start;
    run(service_fn(move |event: LambdaEvent<SqsEvent>| {
        replication_notices(start, event)
    }))
    .await
}
