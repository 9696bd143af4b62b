//! What the takeover function is asked for: by its state machine, or by the custom action of a plan of ARC Region switch.
//!
//! Both may repeat an invocation at any time. So each names its execution, and a state machine the epoch that it expects.

use super::{FailoverRequest, ForceableGate, SwitchOperation, SwitchoverReadings};
use crate::render::counted;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Who invokes the function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TakeoverInvoker {
    /// The state machine, which invokes it again until it has an end.
    StateMachine,
    /// A plan of ARC Region switch, which takes an error for a failed step.
    RegionSwitch,
}

impl TakeoverInvoker {
    /// Who has sent an event.
    #[must_use]
    pub fn of(event: &Value) -> Self {
        match event.get("ExecutionId").is_some() {
            true => Self::RegionSwitch,
            false => Self::StateMachine,
        }
    }
}

/// One invocation of the function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakeoverInvocation {
    /// Who invokes it.
    pub invoker: TakeoverInvoker,
    /// What tells the execution from others. Each of its invocations has the same.
    pub execution: String,
    /// What is asked for.
    pub input: TakeoverInput,
}

/// What a person, or a plan, asks for: the options of `twinlake failover` and `twinlake switchover`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TakeoverInput {
    /// The operation.
    pub operation: SwitchOperation,
    /// The Region that becomes the primary. If it is named, it must be that of the function.
    #[serde(default)]
    pub region: Option<String>,
    /// The number of the epoch that the ledger of the Region must hold.
    #[serde(default)]
    pub expected_epoch: Option<u64>,
    /// Of a failover: whether it is accepted that changes are lost that had not arrived.
    #[serde(default)]
    pub accept_loss: bool,
    /// Of a switchover: whether somebody says that nobody writes to the primary any more.
    #[serde(default)]
    pub writers_stopped: bool,
    /// The gates that are forced.
    #[serde(default)]
    pub force: BTreeSet<ForceableGate>,
    /// Whether the gates are only looked at.
    #[serde(default)]
    pub validate_only: bool,
    /// Whether what has begun is undone, which is possible until the epoch is written.
    #[serde(default)]
    pub undo: bool,
}

/// Why an invocation is no request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the input of the takeover is not valid: {0}")]
pub struct InvalidInvocation(String);

/// The fields that ARC Region switch adds to the input of a custom action.
const REGION_SWITCH_FIELDS: [&str; 4] = ["InvokedBy", "PlanArn", "ExecutionId", "StepName"];

/// The longest name of an execution, in bytes: the ledger keeps some of them.
const MAX_EXECUTION_BYTES: usize = 512;

impl TakeoverInvocation {
    /// Parses the event of the function.
    ///
    /// # Errors
    /// It is of neither invoker, or asks for what is not possible.
    pub fn parse(event: &Value) -> Result<Self, InvalidInvocation> {
        let Value::Object(fields) = event else {
            return Err(invalid("it is no JSON object"));
        };
        let invoker = TakeoverInvoker::of(event);
        let (execution, input) = match invoker {
            TakeoverInvoker::RegionSwitch => of_region_switch(fields)?,
            TakeoverInvoker::StateMachine => of_state_machine(fields)?,
        };
        if execution.len() > MAX_EXECUTION_BYTES {
            return Err(invalid(&format!(
                "the name of the execution takes {}, and may take {}",
                counted(execution.len(), "byte"),
                counted(MAX_EXECUTION_BYTES, "byte")
            )));
        }
        let input: TakeoverInput =
            serde_json::from_value(input).map_err(|error| invalid(&error.to_string()))?;
        input.check(invoker)?;
        Ok(Self {
            invoker,
            execution,
            input,
        })
    }

    /// Checks that the function acts for its own Region.
    ///
    /// # Errors
    /// The input names another Region.
    pub fn check_region(&self, own: &str) -> Result<(), InvalidInvocation> {
        match self.input.region.as_deref().filter(|named| *named != own) {
            None => Ok(()),
            Some(named) => Err(invalid(&format!(
                "`region` is {named}, and this function makes {own} the primary; start the state machine in {named}"
            ))),
        }
    }

    /// The request. A switchover rests on readings.
    #[must_use]
    pub fn request(&self, switchover: Option<SwitchoverReadings>) -> FailoverRequest {
        FailoverRequest {
            accepts_loss: self.input.accept_loss,
            seen_epoch: self.input.expected_epoch,
            forced: self.input.force.clone(),
            switchover,
            execution: Some(self.execution.clone()),
        }
    }
}

impl TakeoverInput {
    /// Checks that the fields suit each other and the invoker.
    fn check(&self, invoker: TakeoverInvoker) -> Result<(), InvalidInvocation> {
        let is_switchover = self.operation == SwitchOperation::Switchover;
        if self.accept_loss && is_switchover {
            return Err(invalid(
                "`accept_loss` is for a failover: a switchover loses nothing",
            ));
        }
        if self.writers_stopped && !is_switchover {
            return Err(invalid("`writers_stopped` is for a switchover"));
        }
        if self.undo {
            let has_others = self.accept_loss
                || self.writers_stopped
                || self.validate_only
                || !self.force.is_empty()
                || self.expected_epoch.is_some();
            if has_others {
                return Err(invalid("`undo` goes with `operation` and `region` alone"));
            }
        }
        match invoker {
            TakeoverInvoker::RegionSwitch if self.undo || self.validate_only => Err(invalid(
                "a plan of ARC Region switch neither undoes nor only looks; use the state machine",
            )),
            TakeoverInvoker::RegionSwitch if self.expected_epoch.is_some() => Err(invalid(
                "a plan of ARC Region switch is used more than once, so it cannot name `expected_epoch`",
            )),
            TakeoverInvoker::StateMachine
                if !self.undo && !self.validate_only && self.expected_epoch.is_none() =>
            {
                Err(invalid(
                    "`expected_epoch` is missing: the epoch that `validate_only` shows, so that a repetition switches \
                     nothing back",
                ))
            }
            TakeoverInvoker::RegionSwitch | TakeoverInvoker::StateMachine => Ok(()),
        }
    }
}

/// The name of an execution, and its input.
type Parts = (String, Value);

/// The state machine passes its input on, beside the ARN of the execution.
fn of_state_machine(fields: &Map<String, Value>) -> Result<Parts, InvalidInvocation> {
    let (Some(Value::String(execution)), Some(input), 2) =
        (fields.get("execution"), fields.get("input"), fields.len())
    else {
        return Err(invalid(
            "it has neither `execution` and `input`, as the state machine passes them, nor `ExecutionId`, as ARC Region \
             switch does; start the state machine",
        ));
    };
    Ok((execution.clone(), input.clone()))
}

/// ARC Region switch merges its fields into the JSON object that the plan holds.
fn of_region_switch(fields: &Map<String, Value>) -> Result<Parts, InvalidInvocation> {
    let text = |name: &str| match fields.get(name) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text.clone()),
        Some(_) | None => Err(invalid(&format!(
            "`{name}` of ARC Region switch is missing, or is no text"
        ))),
    };
    let execution = format!("{}/{}", text("PlanArn")?, text("ExecutionId")?);
    let mut input = fields.clone();
    input.retain(|name, _| !REGION_SWITCH_FIELDS.contains(&name.as_str()));
    Ok((execution, Value::Object(input)))
}

fn invalid(problem: &str) -> InvalidInvocation {
    InvalidInvocation(problem.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn by_state_machine(input: &Value) -> Result<TakeoverInvocation, InvalidInvocation> {
        TakeoverInvocation::parse(&json!({"execution": "arn:aws:states:x", "input": input}))
    }

    fn by_region_switch(input: &Value) -> Result<TakeoverInvocation, InvalidInvocation> {
        let mut event = json!({
            "InvokedBy": "RegionSwitch", "PlanArn": "arn:plan", "ExecutionId": "7", "StepName": "catalog",
        });
        let fields = event.as_object_mut().unwrap();
        fields.extend(input.as_object().unwrap().clone());
        TakeoverInvocation::parse(&event)
    }

    fn problem(result: Result<TakeoverInvocation, InvalidInvocation>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn the_state_machine_passes_its_input_and_the_name_of_its_execution() {
        let failover = json!({"operation": "failover", "expected_epoch": 2, "accept_loss": true,
            "force": ["minimum-interval"]});
        let parsed = by_state_machine(&failover).unwrap();
        let request = parsed.request(None);
        assert_eq!(request.operation(), SwitchOperation::Failover);
        assert_eq!(request.seen_epoch, Some(2));
        assert_eq!(request.execution.as_deref(), Some("arn:aws:states:x"));
        assert!(request.accepts_loss);
        assert!(request.forced.contains(&ForceableGate::MinimumInterval));
        for input in [
            json!({"operation": "failover", "validate_only": true}),
            json!({"operation": "switchover", "undo": true}),
            json!({"operation": "switchover", "expected_epoch": 0, "writers_stopped": true}),
        ] {
            by_state_machine(&input).unwrap();
        }
    }

    #[test]
    fn input_that_is_not_possible_is_refused_with_the_field_that_is_wrong() {
        for (input, expected) in [
            (json!({}), "missing field `operation`"),
            (
                json!({"operation": "failback"}),
                "unknown variant `failback`",
            ),
            (
                json!({"operation": "failover", "accept_loss": true}),
                "`expected_epoch` is missing",
            ),
            (
                json!({"operation": "failover", "expected_epoch": -1}),
                "invalid value",
            ),
            (
                json!({"operation": "failover", "expected_epoch": 0, "accept_lost": true}),
                "unknown field `accept_lost`",
            ),
            (
                json!({"operation": "failover", "expected_epoch": 0, "force": ["all"]}),
                "unknown variant `all`",
            ),
            (
                json!({"operation": "failover", "expected_epoch": 0, "writers_stopped": true}),
                "is for a switchover",
            ),
            (
                json!({"operation": "switchover", "expected_epoch": 0, "accept_loss": true}),
                "is for a failover",
            ),
            (
                json!({"operation": "failover", "undo": true, "accept_loss": true}),
                "`undo` goes with",
            ),
            (json!("failover"), "invalid type"),
        ] {
            let found = problem(by_state_machine(&input));
            assert!(found.contains(expected), "{input}: {found}");
        }
        let failover = json!({"operation": "failover", "expected_epoch": 0, "accept_loss": true});
        for (event, expected) in [
            (json!([]), "no JSON object"),
            (failover.clone(), "start the state machine"),
            (
                json!({"execution": "x", "input": failover, "more": 1}),
                "start the state machine",
            ),
            (
                json!({"execution": "x".repeat(513), "input": failover}),
                "513 bytes",
            ),
        ] {
            let found = problem(TakeoverInvocation::parse(&event));
            assert!(found.contains(expected), "{event}: {found}");
        }
    }

    #[test]
    fn region_switch_merges_its_fields_into_the_input_of_the_plan() {
        let parsed =
            by_region_switch(&json!({"operation": "failover", "accept_loss": true})).unwrap();
        assert_eq!(parsed.invoker, TakeoverInvoker::RegionSwitch);
        assert_eq!(parsed.execution, "arn:plan/7");
        assert!(parsed.input.accept_loss);
        for (input, expected) in [
            (json!({}), "missing field `operation`"),
            (
                json!({"operation": "failover", "expected_epoch": 0}),
                "used more than once",
            ),
            (
                json!({"operation": "failover", "undo": true}),
                "neither undoes nor only looks",
            ),
            (
                json!({"operation": "failover", "validate_only": true}),
                "neither undoes nor only looks",
            ),
            (
                json!({"operation": "failover", "Mode": "ungraceful"}),
                "unknown field `Mode`",
            ),
            (
                json!({"operation": "failover", "PlanArn": 3}),
                "`PlanArn` of ARC Region switch",
            ),
        ] {
            let found = problem(by_region_switch(&input));
            assert!(found.contains(expected), "{input}: {found}");
        }
    }

    #[test]
    fn the_function_makes_no_other_region_the_primary() {
        let input = json!({"operation": "failover", "validate_only": true, "region": "ap-south-1"});
        let parsed = by_state_machine(&input).unwrap();
        assert_eq!(parsed.check_region("ap-south-1"), Ok(()));
        let refused = parsed.check_region("us-east-1").unwrap_err().to_string();
        assert!(
            refused.contains("start the state machine in ap-south-1"),
            "{refused}"
        );
    }
}
