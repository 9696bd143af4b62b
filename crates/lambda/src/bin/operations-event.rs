//! Handles operations events of this Region: failed jobs and crawlers, refused access. Publishes an
//! alert for each, and a `resolved` message when it is over.

use aws_lambda_events::sqs::SqsEvent;
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use twinlake_lambda::{Runtime, operations};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let runtime = Runtime::from_environment().await?;
    let runtime = &runtime;
    run(service_fn(move |event: LambdaEvent<SqsEvent>| {
        operations(runtime, event)
    }))
    .await
}
