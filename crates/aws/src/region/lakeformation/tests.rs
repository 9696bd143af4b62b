//! The writes of Lake Formation, over answers that nothing documented excludes.

use crate::call_error::codes;
use crate::region::AwsRegion;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::body::SdkBody;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use twinlake_core::catalog::Registration;
use twinlake_core::{CallErrorKind, Principal};
use twinlake_engine::ports::SettingsChange;

/// The error code of an answer, or none, and its body.
type Answer = (Option<&'static str>, Value);

/// Gives the answers to each call in their order, then empty ones, and keeps the names of the calls.
#[derive(Clone, Debug, Default)]
struct Service {
    answers: Arc<Mutex<BTreeMap<String, VecDeque<Answer>>>>,
    calls: Arc<Mutex<Vec<String>>>,
}

impl HttpConnector for Service {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let path = request.uri().split('?').next().unwrap_or_default();
        let call = path.rsplit('/').next().unwrap_or_default().to_owned();
        let mut answers = self.answers.lock().unwrap();
        let answer = answers.get_mut(&call).and_then(VecDeque::pop_front);
        self.calls.lock().unwrap().push(call);
        let (code, body) = answer.unwrap_or((None, json!({})));
        let status: u16 = if code.is_some() { 400 } else { 200 };
        let body = SdkBody::from(body.to_string());
        let mut response = HttpResponse::new(status.try_into().unwrap(), body);
        if let Some(code) = code {
            response.headers_mut().insert("x-amzn-errortype", code);
        }
        HttpConnectorFuture::ready(Ok(response))
    }
}

impl Service {
    fn new(answers: &[(&str, Answer)]) -> Self {
        let service = Self::default();
        for (call, answer) in answers {
            let mut all = service.answers.lock().unwrap();
            all.entry((*call).to_owned())
                .or_default()
                .push_back(answer.clone());
        }
        service
    }

    fn region(&self) -> AwsRegion {
        use aws_sdk_lakeformation::config::{BehaviorVersion, Credentials, Region};
        let connector = SharedHttpConnector::new(self.clone());
        let client = http_client_fn(move |_, _| connector.clone());
        let name = "us-east-1".to_owned();
        let credentials = || Credentials::new("a", "b", None, None, "test");
        let glue = aws_sdk_glue::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(name.clone()))
            .credentials_provider(credentials())
            .http_client(client.clone())
            .build();
        let lakeformation = aws_sdk_lakeformation::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(name.clone()))
            .credentials_provider(credentials())
            .http_client(client)
            .build();
        AwsRegion {
            region: name,
            account: "111122223333".to_owned(),
            glue: aws_sdk_glue::Client::from_conf(glue),
            lakeformation: aws_sdk_lakeformation::Client::from_conf(lakeformation),
            function_pattern: Arc::default(),
        }
    }

    fn take_calls(&self) -> Vec<String> {
        std::mem::take(&mut *self.calls.lock().unwrap())
    }
}

fn settings(admins: &[&str]) -> Value {
    let admins: Vec<Value> = admins
        .iter()
        .map(|one| json!({"DataLakePrincipalIdentifier": one}))
        .collect();
    json!({"DataLakeSettings": {"DataLakeAdmins": admins}})
}

#[tokio::test]
async fn settings_are_written_only_from_a_read_that_has_what_stays() {
    let kept = BTreeSet::from([Principal("Admin".to_owned())]);
    let change = SettingsChange {
        added_admins: BTreeSet::from([Principal("New".to_owned())]),
        kept_admins: kept,
        ..SettingsChange::default()
    };
    for read in [
        json!({}),
        json!({"DataLakeSettings": {"ReadOnlyAdmins": []}}),
        settings(&[]),
        settings(&["Other"]),
    ] {
        let service = Service::new(&[("GetDataLakeSettings", (None, read.clone()))]);
        let error = service.region().write_data_lake_settings(&change).await;
        assert!(error.unwrap_err().kind.is_transient(), "{read}");
        assert_eq!(service.take_calls(), ["GetDataLakeSettings"], "{read}");
    }
    let both = settings(&["Admin", "New"]);
    let service = Service::new(&[
        ("GetDataLakeSettings", (None, settings(&["Admin"]))),
        ("GetDataLakeSettings", (None, both)),
    ]);
    let written = service.region().write_data_lake_settings(&change).await;
    assert_eq!(written, Ok(()));
}

#[tokio::test]
async fn an_lf_tag_is_deleted_only_with_its_last_value() {
    let refused = || (Some(codes::INVALID_INPUT), json!({"Message": "no"}));
    let listed = |values: &[&str]| (None, json!({"TagKey": "class", "TagValues": values}));
    let with_delete = ["UpdateLFTag", "GetLFTag", "DeleteLFTag"];
    for (second_read, calls) in [
        ((None, json!({})), &with_delete[..2]),
        (listed(&[]), &with_delete[..2]),
        (listed(&["a", "b"]), &with_delete[..2]),
        (listed(&["A"]), &with_delete[..]),
    ] {
        let service = Service::new(&[("UpdateLFTag", refused()), ("GetLFTag", second_read)]);
        let deleted = service.region().delete_lf_tag_value("class", "a").await;
        assert_eq!(deleted.is_ok(), calls.len() == 3);
        assert_eq!(service.take_calls(), calls);
    }
    let service = Service::default();
    let deleted = service.region().delete_lf_tag_value("class", "a").await;
    assert_eq!(deleted, Ok(()));
    assert_eq!(service.take_calls(), ["UpdateLFTag"]);
}

const LOCATION: &str = "arn:aws:s3:::lake/raw";

fn registration(hybrid_access: bool) -> Registration {
    Registration {
        arn: LOCATION.to_owned(),
        role: Some("arn:aws:iam::111122223333:role/R".to_owned()),
        with_federation: false,
        hybrid_access,
        privileged_access: false,
        owner: None,
    }
}

fn described(role: &str, hybrid_access: bool) -> Answer {
    let info =
        json!({"ResourceArn": LOCATION, "RoleArn": role, "HybridAccessEnabled": hybrid_access});
    (None, json!({"ResourceInfo": info}))
}

fn duplicate() -> Answer {
    (Some(codes::ALREADY_EXISTS), json!({"Message": "exists"}))
}

#[tokio::test]
async fn a_registration_that_appeared_is_left_as_it_is() {
    let role = "arn:aws:iam::111122223333:role/R";
    for (is_equal, hybrid_access) in [(true, false), (false, true)] {
        let service = Service::new(&[
            ("RegisterResource", duplicate()),
            ("DescribeResource", described(role, hybrid_access)),
        ]);
        let region = service.region();
        let put = region.put_registration(&registration(false), false).await;
        assert_eq!(put.is_ok(), is_equal);
        if let Err(error) = put {
            assert_eq!(error.kind, CallErrorKind::Contended);
        }
        assert_eq!(
            service.take_calls(),
            ["RegisterResource", "DescribeResource"]
        );
    }
}

#[tokio::test]
async fn a_location_whose_new_registration_is_refused_gets_its_former_one_back() {
    let linked_role = "arn:aws:iam::111122223333:role/aws-service-role/lakeformation.amazonaws.com/\
                       AWSServiceRoleForLakeFormationDataAccess";
    let service = Service::new(&[
        ("RegisterResource", duplicate()),
        ("DescribeResource", described(linked_role, false)),
        (
            "RegisterResource",
            (Some(codes::INVALID_INPUT), json!({"Message": "no"})),
        ),
    ]);
    let region = service.region();
    let put = region.put_registration(&registration(false), true).await;
    assert_eq!(put.unwrap_err().kind, CallErrorKind::Invalid);
    let calls = service.take_calls();
    let expected = [
        "RegisterResource",
        "DescribeResource",
        "DeregisterResource",
        "RegisterResource",
        "RegisterResource",
    ];
    assert_eq!(calls, expected);
}

#[tokio::test]
async fn a_named_expression_that_appeared_is_left_as_it_is() {
    use twinlake_core::catalog::NamedLfTagExpression;
    let listed = |value: &str| {
        let expression = json!([{"TagKey": "class", "TagValues": [value]}]);
        (
            None,
            json!({"LFTagExpressions": [{"Name": "only", "Expression": expression}]}),
        )
    };
    let wanted = NamedLfTagExpression {
        name: "only".to_owned(),
        description: None,
        expression: [("class".to_owned(), BTreeSet::from(["a".to_owned()]))].into(),
    };
    for (value, is_equal) in [("a", true), ("b", false)] {
        let service = Service::new(&[
            ("CreateLFTagExpression", duplicate()),
            ("ListLFTagExpressions", listed(value)),
        ]);
        let region = service.region();
        let put = region.put_named_expression(&wanted, None, false).await;
        assert_eq!(put.is_ok(), is_equal, "{put:?}");
        let calls = service.take_calls();
        assert_eq!(calls, ["CreateLFTagExpression", "ListLFTagExpressions"]);
    }
}
