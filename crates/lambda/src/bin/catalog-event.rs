//! Glue's catalog events, as the rules of the custom bus let them through, and what this function
//! sent itself to look at again.

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
