//! Handles Lake Formation grants and revokes that CloudTrail recorded. It has its own queue and
//! role, so that a burst of partition events never delays a revoke.

use aws_lambda_events::sqs::SqsEvent;
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use twinlake_lambda::{Runtime, catalog_changes};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let runtime = Runtime::from_environment().await?;
    let runtime = &runtime;
    run(service_fn(move |event: LambdaEvent<SqsEvent>| {
        catalog_changes(runtime, event)
    }))
    .await
}
