//! The parameter of SSM that holds the address for clients.

use crate::call_error;
use crate::clients::Clients;
use aws_sdk_ssm::types::ParameterType;
use twinlake_core::{CallError, CallErrorKind};
use twinlake_engine::ports::AddressParameter;

/// The parameters of SSM in a Region.
#[derive(Clone, Debug)]
pub struct SsmParameters {
    region: String,
    client: aws_sdk_ssm::Client,
}

impl SsmParameters {
    /// The SSM parameters of the Region that these SDK clients call.
    #[must_use]
    pub fn new(clients: &Clients) -> Self {
        Self {
            region: clients.region().to_owned(),
            client: clients.ssm(),
        }
    }
}

impl AddressParameter for SsmParameters {
    async fn read(&self, name: &str) -> Result<Option<String>, CallError> {
        let response = self.client.get_parameter().name(name).send().await;
        match response.map_err(|e| call_error::from_sdk("GetParameter", &self.region, &e)) {
            Ok(response) => Ok(response.parameter.and_then(|parameter| parameter.value)),
            Err(error) if error.kind == CallErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn write(&self, name: &str, value: &str) -> Result<(), CallError> {
        let call = self
            .client
            .put_parameter()
            .name(name)
            .value(value)
            .r#type(ParameterType::String)
            .overwrite(true);
        let response = call.send().await;
        response
            .map(drop)
            .map_err(|e| call_error::from_sdk("PutParameter", &self.region, &e))
    }
}
