//! What fails around the lake in this Region: jobs, crawlers, refused access. People are
//! told, and told when it is over.

use aws_lambda_events::sqs::SqsEvent;
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use twinlake_lambda::{Start, operations};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let start = Start::from_environment().await?;
    let start = &start;
    run(service_fn(move |event: LambdaEvent<SqsEvent>| {
        operations(start, event)
    }))
    .await
}
