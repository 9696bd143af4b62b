//! Reads user-defined functions.

use super::{AwsRegion, missing_object};
use crate::pages::all_pages;
use crate::{call_error, glue_convert};
use aws_sdk_glue::types as glue;
use twinlake_core::catalog::{Function, Observed};
use twinlake_core::{CallError, CallErrorKind, FunctionId, Name};

fn function_name(function: &glue::UserDefinedFunction) -> Option<&str> {
    function.function_name.as_deref()
}

impl AwsRegion {
    /// Reads the functions of a database, or of the whole catalog.
    pub(super) async fn read_functions(
        &self,
        database: Option<&Name>,
    ) -> Result<Vec<(FunctionId, Observed<Function>)>, CallError> {
        const CALL: &str = "GetUserDefinedFunctions";
        let listed = self
            .function_pattern
            .list_every(function_name, |pattern| {
                self.list_functions(CALL, database, pattern)
            })
            .await?;
        // Glue does not always return the database name. Then a function of the whole catalog's
        // listing cannot be told from one of the same name in another database.
        if database.is_none() && listed.iter().any(|one| one.database_name.is_none()) {
            let message = "the listing of all databases does not name the database of a function";
            let kind = CallErrorKind::Unsupported;
            return Err(CallError::new(kind, CALL, &self.region, message));
        }
        let functions = listed.into_iter().map(|mut function| {
            let requested = database.map(|name| name.as_str().to_owned());
            function.database_name = function.database_name.or(requested);
            glue_convert::from_sdk_function(function)
        });
        Ok(functions.collect())
    }

    async fn list_functions(
        &self,
        call: &str,
        database: Option<&Name>,
        pattern: &'static str,
    ) -> Result<Vec<glue::UserDefinedFunction>, CallError> {
        all_pages((call, &self.region), |token| async {
            let request = self.glue.get_user_defined_functions().pattern(pattern);
            let request = request
                .set_database_name(database.map(|name| name.as_str().to_owned()))
                .max_results(100)
                .set_next_token(token);
            let page = request
                .send()
                .await
                .map_err(|e| call_error::from_sdk(call, &self.region, &e))?;
            Ok((
                page.user_defined_functions.unwrap_or_default(),
                page.next_token,
            ))
        })
        .await
    }

    pub(super) async fn read_function(
        &self,
        id: &FunctionId,
    ) -> Result<Observed<Function>, CallError> {
        const CALL: &str = "GetUserDefinedFunction";
        let call = self.glue.get_user_defined_function();
        let call = call.database_name(id.database.as_str());
        let response = call.function_name(id.function.as_listed()).send().await;
        let response = response.map_err(|e| call_error::from_sdk(CALL, &self.region, &e))?;
        let mut found = response
            .user_defined_function
            .ok_or_else(|| missing_object(CALL, &self.region))?;
        found.database_name = Some(id.database.as_str().to_owned());
        Ok(glue_convert::from_sdk_function(found).1)
    }
}
