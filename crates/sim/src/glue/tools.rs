//! Operations on the tools of Glue: classifiers, security configurations, jobs, workflows, crawlers and triggers.
//!
//! As the service: a crawler that is created with a schedule is scheduled at once, an update keeps what it does not
//! name, a crawler that runs is not updated, and the update of a trigger replaces its definition.

use super::ApiResult;
use crate::api::{page, required_text, to_json};
use crate::caller::Caller;
use crate::error::ApiError;
use crate::state::SimState;
use serde_json::{Map, Value, json};
use twinlake_core::CallErrorKind;

const MAX_TOOLS_PER_PAGE: usize = 100;
/// The most names of a request for workflows, and of a page of them.
const MAX_WORKFLOWS: usize = 25;

/// The members of a request or answer.
type Members = Map<String, Value>;

impl SimState {
    /// Runs an operation on a tool of Glue. Returns `None` if there is no operation of this name.
    pub(super) fn tools_call(
        &mut self,
        caller: Caller<'_>,
        call: &str,
        request: &Value,
    ) -> Option<ApiResult> {
        Some(match call {
            "CreateClassifier" | "UpdateClassifier" => self.write_classifier(caller, call, request),
            "CreateCrawler" => self.create_crawler(caller, request),
            "UpdateCrawler" => self.update_crawler(caller, request),
            "UpdateCrawlerSchedule" | "StartCrawlerSchedule" | "StopCrawlerSchedule" => {
                self.change_schedule(caller, call, request)
            }
            "StartCrawler" => self.change_tool(caller, ("Crawler", "Name"), request, |crawler| {
                crawler.insert("State".to_owned(), "RUNNING".into());
                Ok(())
            }),
            "CreateTrigger" => self.create_trigger(caller, request),
            "UpdateTrigger" => self.update_trigger(caller, request),
            "StartTrigger" | "StopTrigger" => {
                let state = if call == "StartTrigger" {
                    "ACTIVATED"
                } else {
                    "DEACTIVATED"
                };
                self.change_tool(caller, ("Trigger", "Name"), request, |trigger| {
                    trigger.insert("State".to_owned(), state.into());
                    Ok(())
                })
            }
            "GetConnections" => self
                .list_tools(caller, ("Connection", "ConnectionList"), request)
                .map(|answer| without_passwords(answer, request)),
            "GetConnection" => self
                .get_tool(caller, "Connection", request)
                .map(|answer| without_passwords(answer, request)),
            "UpdateConnection" => self.update_connection(caller, request),
            "DeleteConnection" => self.delete_connection(caller, request),
            "CreateJob" | "UpdateJob" => self.write_job(caller, call, request),
            "DeleteJob" => required_text(request, "JobName")
                .map(str::to_owned)
                .and_then(|name| self.delete_tool(caller, "Job", &json!({ "Name": name }))),
            "GetJobs" => self.list_tools(caller, ("Job", "Jobs"), request),
            "CreateWorkflow" | "UpdateWorkflow" => self.write_workflow(caller, call, request),
            "DeleteWorkflow" => self.delete_tool(caller, "Workflow", request),
            "GetWorkflow" => self.get_tool(caller, "Workflow", request),
            "BatchGetWorkflows" => self.batch_get_workflows(caller, request),
            "CreateSecurityConfiguration" => self.create_security_configuration(caller, request),
            "DeleteClassifier" => self.delete_tool(caller, "Classifier", request),
            "DeleteSecurityConfiguration" => {
                self.delete_tool(caller, "SecurityConfiguration", request)
            }
            "DeleteCrawler" => self.delete_tool(caller, "Crawler", request),
            "DeleteTrigger" => self.delete_tool(caller, "Trigger", request),
            "GetClassifier" => self.get_tool(caller, "Classifier", request),
            "GetSecurityConfiguration" => self.get_tool(caller, "SecurityConfiguration", request),
            "GetCrawler" => self.get_tool(caller, "Crawler", request),
            "GetTrigger" => self.get_tool(caller, "Trigger", request),
            "GetJob" => required_text(request, "JobName")
                .and_then(|name| self.get_tool(caller, "Job", &json!({ "Name": name }))),
            "GetClassifiers" => self.list_tools(caller, ("Classifier", "Classifiers"), request),
            "GetCrawlers" => self.list_tools(caller, ("Crawler", "Crawlers"), request),
            "GetTriggers" => self.list_tools(caller, ("Trigger", "Triggers"), request),
            "GetSecurityConfigurations" => self.list_tools(
                caller,
                ("SecurityConfiguration", "SecurityConfigurations"),
                request,
            ),
            "ListJobs" => self.list_tool_names(caller, ("Job", "JobNames"), request),
            "ListWorkflows" => self.list_tool_names(caller, ("Workflow", "Workflows"), request),
            _ => return None,
        })
    }

    fn insert_tool(
        &mut self,
        caller: Caller<'_>,
        (kind, name): (&'static str, &str),
        tool: Value,
    ) -> ApiResult {
        let tools = &mut self.region_mut(caller.region)?.tools;
        if tools.contains_key(&(kind, name.to_owned())) {
            return Err(ApiError::already_exists(kind));
        }
        tools.insert((kind, name.to_owned()), tool);
        Ok(json!({ "Name": name }))
    }

    fn change_tool(
        &mut self,
        caller: Caller<'_>,
        (kind, key): (&'static str, &str),
        request: &Value,
        change: impl FnOnce(&mut Members) -> Result<(), ApiError>,
    ) -> ApiResult {
        let name = required_text(request, key)?.to_owned();
        self.tick();
        let tools = &mut self.region_mut(caller.region)?.tools;
        let tool = tools.get_mut(&(kind, name)).and_then(Value::as_object_mut);
        change(tool.ok_or_else(ApiError::not_found)?)?;
        Ok(json!({}))
    }

    fn delete_tool(
        &mut self,
        caller: Caller<'_>,
        kind: &'static str,
        request: &Value,
    ) -> ApiResult {
        let name = required_text(request, "Name")?.to_owned();
        let tools = &mut self.region_mut(caller.region)?.tools;
        let removed = tools.remove(&(kind, name.clone()));
        match (removed, kind) {
            (Some(_), _) => Ok(json!({ "Name": name })),
            // The service does not miss a trigger or a job.
            (None, "Trigger" | "Job") => Ok(json!({})),
            (None, _) => Err(ApiError::not_found()),
        }
    }

    fn get_tool(&self, caller: Caller<'_>, kind: &'static str, request: &Value) -> ApiResult {
        let name = required_text(request, "Name")?.to_owned();
        let found = self.region(caller.region)?.tools.get(&(kind, name));
        Ok(json!({ kind: found.ok_or_else(ApiError::not_found)? }))
    }

    fn list_tools(
        &self,
        caller: Caller<'_>,
        (kind, key): (&'static str, &str),
        request: &Value,
    ) -> ApiResult {
        let tools = &self.region(caller.region)?.tools;
        let all: Vec<&Value> = tools
            .iter()
            .filter(|((other, _), _)| *other == kind)
            .map(|(_, tool)| tool)
            .collect();
        Ok(page(request, key, MAX_TOOLS_PER_PAGE, &all, |tool| {
            (*tool).clone()
        }))
    }

    fn list_tool_names(
        &self,
        caller: Caller<'_>,
        (kind, key): (&'static str, &str),
        request: &Value,
    ) -> ApiResult {
        let tools = &self.region(caller.region)?.tools;
        let all: Vec<&String> = tools
            .keys()
            .filter(|(other, _)| *other == kind)
            .map(|(_, name)| name)
            .collect();
        let most = match kind {
            "Workflow" => MAX_WORKFLOWS,
            _ => MAX_TOOLS_PER_PAGE,
        };
        Ok(page(request, key, most, &all, |name| {
            Value::String((*name).clone())
        }))
    }

    /// Creates a classifier, or changes what a request names.
    fn write_classifier(&mut self, caller: Caller<'_>, call: &str, request: &Value) -> ApiResult {
        let mut shapes = request.as_object().into_iter().flatten();
        let shape = shapes.find(|(_, content)| content.is_object());
        let (shape, content) = shape.ok_or_else(|| ApiError::invalid("no classifier"))?;
        let name = required_text(content, "Name")?.to_owned();
        let now = to_json(&self.tick());
        if call == "CreateClassifier" {
            let mut content = content.clone();
            if let Some(content) = content.as_object_mut() {
                content.insert("CreationTime".to_owned(), now);
            }
            return self.insert_tool(caller, ("Classifier", &name), json!({ shape: content }));
        }
        self.change_tool(caller, ("Classifier", "Name"), content, |found| {
            let stored = found.get_mut(shape).and_then(Value::as_object_mut);
            let stored = stored.ok_or_else(|| ApiError::invalid("it is of another type"))?;
            stored.extend(content.as_object().cloned().unwrap_or_default());
            Ok(())
        })
    }

    /// Creates a security configuration, which no call changes.
    fn create_security_configuration(&mut self, caller: Caller<'_>, request: &Value) -> ApiResult {
        let name = required_text(request, "Name")?.to_owned();
        let encryption = request.get("EncryptionConfiguration");
        let encryption = encryption.ok_or_else(|| ApiError::invalid("no configuration"))?;
        let now = to_json(&self.tick());
        let content = json!({
            "Name": name, "CreatedTimeStamp": now, "EncryptionConfiguration": encryption});
        self.insert_tool(caller, ("SecurityConfiguration", &name), content)?;
        Ok(json!({"Name": name, "CreatedTimestamp": now}))
    }

    /// Replaces a connection.
    fn update_connection(&mut self, caller: Caller<'_>, request: &Value) -> ApiResult {
        let input = request.get("ConnectionInput").and_then(Value::as_object);
        let mut input = input.cloned().unwrap_or_default();
        input.insert("Name".to_owned(), required_text(request, "Name")?.into());
        self.change_tool(caller, ("Connection", "Name"), request, |found| {
            let created = found.get("CreationTime").cloned().unwrap_or_default();
            *found = input;
            found.insert("CreationTime".to_owned(), created);
            Ok(())
        })
    }

    fn delete_connection(&mut self, caller: Caller<'_>, request: &Value) -> ApiResult {
        let name = required_text(request, "ConnectionName")?.to_owned();
        self.region_mut(caller.region)?.connections.remove(&name);
        self.delete_tool(caller, "Connection", &json!({ "Name": name }))
    }

    /// Creates a job, or replaces its definition. The service computes the capacity of workers, and takes one or the other.
    fn write_job(&mut self, caller: Caller<'_>, call: &str, request: &Value) -> ApiResult {
        let key = if call == "CreateJob" {
            "Name"
        } else {
            "JobName"
        };
        let name = required_text(request, key)?.to_owned();
        let definition = request.get("JobUpdate").unwrap_or(request);
        required_text(definition, "Role")?;
        if definition.get("Command").is_none_or(|one| !one.is_object()) {
            return Err(ApiError::invalid("Command is required"));
        }
        let has_workers = definition.get("NumberOfWorkers").is_some();
        if has_workers && definition.get("MaxCapacity").is_some() {
            let message = "do not set Max Capacity if using Worker Type and Number of Workers";
            return Err(ApiError::invalid(message));
        }
        let now = to_json(&self.tick());
        let mut job = definition.as_object().cloned().unwrap_or_default();
        job.remove("Tags");
        if let Some(workers) = job.get("NumberOfWorkers").cloned() {
            job.insert("MaxCapacity".to_owned(), workers.clone());
            job.insert("AllocatedCapacity".to_owned(), workers);
        }
        job.insert("Name".to_owned(), name.clone().into());
        job.insert("LastModifiedOn".to_owned(), now.clone());
        if call == "CreateJob" {
            job.insert("CreatedOn".to_owned(), now);
            return self.insert_tool(caller, ("Job", &name), Value::Object(job));
        }
        self.change_tool(caller, ("Job", "JobName"), request, |found| {
            let created = found.get("CreatedOn").cloned().unwrap_or_default();
            *found = job;
            found.insert("CreatedOn".to_owned(), created);
            Ok(())
        })?;
        Ok(json!({ "JobName": name }))
    }

    /// Creates a workflow, or changes what a request names.
    fn write_workflow(&mut self, caller: Caller<'_>, call: &str, request: &Value) -> ApiResult {
        let name = required_text(request, "Name")?.to_owned();
        let now = to_json(&self.tick());
        let mut workflow = request.as_object().cloned().unwrap_or_default();
        if call == "CreateWorkflow" {
            workflow.insert("CreatedOn".to_owned(), now);
            return self.insert_tool(caller, ("Workflow", &name), Value::Object(workflow));
        }
        self.change_tool(caller, ("Workflow", "Name"), request, |found| {
            found.extend(workflow);
            Ok(())
        })?;
        Ok(json!({ "Name": name }))
    }

    fn batch_get_workflows(&self, caller: Caller<'_>, request: &Value) -> ApiResult {
        let names = request.get("Names").and_then(Value::as_array);
        let names = names.into_iter().flatten().filter_map(Value::as_str);
        let names: Vec<&str> = names.collect();
        if names.is_empty() || names.len() > MAX_WORKFLOWS {
            return Err(ApiError::invalid("1 to 25 names"));
        }
        let tools = &self.region(caller.region)?.tools;
        let of = |name: &&str| tools.get(&("Workflow", (*name).to_owned()));
        let found: Vec<&Value> = names.iter().filter_map(of).collect();
        let missing: Vec<&&str> = names.iter().filter(|name| of(name).is_none()).collect();
        Ok(json!({"Workflows": found, "MissingWorkflows": missing}))
    }

    fn create_crawler(&mut self, caller: Caller<'_>, request: &Value) -> ApiResult {
        let name = required_text(request, "Name")?.to_owned();
        required_text(request, "Role")?;
        let now = to_json(&self.tick());
        let mut crawler = request.as_object().cloned().unwrap_or_default();
        set_schedule(&mut crawler, request);
        crawler.insert("State".to_owned(), "READY".into());
        crawler.insert("CreationTime".to_owned(), now);
        self.insert_tool(caller, ("Crawler", &name), Value::Object(crawler))
    }

    fn update_crawler(&mut self, caller: Caller<'_>, request: &Value) -> ApiResult {
        self.change_tool(caller, ("Crawler", "Name"), request, |crawler| {
            if crawler.get("State") == Some(&json!("RUNNING")) {
                return Err(ApiError::new(
                    CallErrorKind::Contended,
                    "CrawlerRunningException",
                    "the crawler is running",
                ));
            }
            let schedule = crawler.get("Schedule").cloned();
            crawler.extend(request.as_object().cloned().unwrap_or_default());
            match request.get("Schedule") {
                Some(_) => set_schedule(crawler, request),
                None => drop(schedule.map(|one| crawler.insert("Schedule".to_owned(), one))),
            }
            Ok(())
        })
    }

    fn change_schedule(&mut self, caller: Caller<'_>, call: &str, request: &Value) -> ApiResult {
        self.change_tool(caller, ("Crawler", "CrawlerName"), request, |crawler| {
            if call == "UpdateCrawlerSchedule" {
                set_schedule(crawler, request);
                return Ok(());
            }
            let (state, code) = match call {
                "StartCrawlerSchedule" => ("SCHEDULED", "SchedulerRunningException"),
                _ => ("NOT_SCHEDULED", "SchedulerNotRunningException"),
            };
            let schedule = crawler.get_mut("Schedule").and_then(Value::as_object_mut);
            let running = schedule.filter(|one| one.get("State") != Some(&json!(state)));
            let Some(schedule) = running else {
                let kind = CallErrorKind::AlreadyInState;
                return Err(ApiError::new(kind, code, "the schedule is in this state"));
            };
            schedule.insert("State".to_owned(), state.into());
            Ok(())
        })
    }

    fn create_trigger(&mut self, caller: Caller<'_>, request: &Value) -> ApiResult {
        let name = required_text(request, "Name")?.to_owned();
        required_text(request, "Type")?;
        let mut trigger = request.as_object().cloned().unwrap_or_default();
        let starts = trigger.remove("StartOnCreation") == Some(json!(true));
        let state = if starts { "ACTIVATED" } else { "CREATED" };
        trigger.insert("State".to_owned(), state.into());
        self.insert_tool(caller, ("Trigger", &name), Value::Object(trigger))
    }

    fn update_trigger(&mut self, caller: Caller<'_>, request: &Value) -> ApiResult {
        self.change_tool(caller, ("Trigger", "Name"), request, |trigger| {
            trigger.retain(|name, _| {
                matches!(name.as_str(), "Name" | "Type" | "State" | "WorkflowName")
            });
            let update = request.get("TriggerUpdate").and_then(Value::as_object);
            trigger.extend(update.cloned().unwrap_or_default());
            Ok(())
        })
    }
}

/// The answer without passwords, if a request hides them.
fn without_passwords(mut answer: Value, request: &Value) -> Value {
    if request.get("HidePassword") != Some(&json!(true)) {
        return answer;
    }
    let hide = |connection: &mut Value| {
        let properties = connection.get_mut("ConnectionProperties");
        if let Some(properties) = properties.and_then(Value::as_object_mut) {
            properties.remove("PASSWORD");
        }
    };
    let listed = answer
        .get_mut("ConnectionList")
        .and_then(Value::as_array_mut);
    listed.into_iter().flatten().for_each(hide);
    answer.get_mut("Connection").into_iter().for_each(hide);
    answer
}

/// Sets the schedule of a request, which begins at once.
fn set_schedule(crawler: &mut Members, request: &Value) {
    match request.get("Schedule").and_then(Value::as_str) {
        Some(cron) => {
            let schedule = json!({"ScheduleExpression": cron, "State": "SCHEDULED"});
            crawler.insert("Schedule".to_owned(), schedule);
        }
        None => drop(crawler.remove("Schedule")),
    }
}
