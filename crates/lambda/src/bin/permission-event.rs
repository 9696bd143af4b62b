//! Lake Formation's grants and revokes, as CloudTrail recorded them. Its queue and its rights are
//! its own, so that a flood of partitions never delays a revoke.

use aws_lambda_events::sqs::SqsEvent;
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use twinlake_lambda::{Start, catalog_changes};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let start = Start::from_environment().await?;
    let start = &start;
    run(service_fn(move |event: LambdaEvent<SqsEvent>| {
        catalog_changes(start, event)
    }))
    .await
}
