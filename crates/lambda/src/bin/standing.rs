//! What our roles hold in the lake: in the primary the rights to be shown all of it, in
//! the standby the data lake settings. It has rights that no other function has.

use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::Value;
use twinlake_lambda::{Start, standing};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let start = Start::from_environment().await?;
    let start = &start;
    run(service_fn(move |event: LambdaEvent<Value>| {
        standing(start, event)
    }))
    .await
}
