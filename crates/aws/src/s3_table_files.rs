//! Reads and adds files of tables in S3.

use crate::call_error;
use crate::clients::Clients;
use crate::pages::{all_pages, next_token};
use aws_sdk_s3::operation::get_object::GetObjectError;
use aws_sdk_s3::primitives::ByteStream;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use std::cell::RefCell;
use std::collections::BTreeMap;
use twinlake_core::{CallError, CallErrorKind};
use twinlake_engine::ports::TableFiles;
use twinlake_iceberg::bucket_and_key;

/// The files of tables in S3, in one Region or several.
#[derive(Clone, Debug)]
pub struct S3TableFiles {
    region: String,
    client: aws_sdk_s3::Client,
    /// The clients of buckets in other Regions.
    others: BTreeMap<String, (String, aws_sdk_s3::Client)>,
    max_file_bytes: Option<u64>,
}

impl S3TableFiles {
    /// The files in the buckets of one Region.
    #[must_use]
    pub fn new(clients: &Clients) -> Self {
        Self {
            region: clients.region().to_owned(),
            client: clients.s3(),
            others: BTreeMap::new(),
            max_file_bytes: None,
        }
    }

    /// Longer files are not read: an error says so before their content is received.
    #[must_use]
    pub const fn with_max_file_bytes(mut self, bytes: u64) -> Self {
        self.max_file_bytes = Some(bytes);
        self
    }

    /// The error of a file that is too long to be read.
    fn check_length(&self, path: &str, region: &str, length: Option<i64>) -> Result<(), CallError> {
        let length = length.and_then(|length| u64::try_from(length).ok());
        match (self.max_file_bytes, length) {
            (Some(most), Some(length)) if length > most => {
                let problem = format!(
                    "{path} has {length} bytes, and a function reads files of at most {most}"
                );
                let kind = CallErrorKind::Unsupported;
                Err(CallError::new(kind, "GetObject", region, problem))
            }
            _ => Ok(()),
        }
    }

    /// Also the files in a bucket of another Region.
    #[must_use]
    pub fn with_bucket(mut self, bucket: &str, clients: &Clients) -> Self {
        let client = (clients.region().to_owned(), clients.s3());
        self.others.insert(bucket.to_owned(), client);
        self
    }

    /// Region, client, bucket and key of a path.
    fn client_of<'p>(
        &self,
        call: &str,
        path: &'p str,
    ) -> Result<(&str, &aws_sdk_s3::Client, &'p str, &'p str), CallError> {
        let Some((bucket, key)) = bucket_and_key(path) else {
            let problem = format!("{path} is no path in S3");
            return Err(CallError::new(
                CallErrorKind::Invalid,
                call,
                &self.region,
                problem,
            ));
        };
        Ok(match self.others.get(bucket) {
            Some((region, client)) => (region, client, bucket, key),
            None => (&self.region, &self.client, bucket, key),
        })
    }
}

/// The HTTP status of a failed call; `None` if there was no response.
fn status<E>(error: &SdkError<E, HttpResponse>) -> Option<u16> {
    error.raw_response().map(|raw| raw.status().as_u16())
}

impl TableFiles for S3TableFiles {
    async fn get(&self, path: &str) -> Result<Option<Vec<u8>>, CallError> {
        let (region, client, bucket, key) = self.client_of("GetObject", path)?;
        match client.get_object().bucket(bucket).key(key).send().await {
            Ok(response) => {
                self.check_length(path, region, response.content_length)?;
                let body = response.body.collect().await.map_err(|error| {
                    let problem = format!("the body of {path} ended early: {error}");
                    CallError::new(CallErrorKind::Unavailable, "GetObject", region, problem)
                })?;
                Ok(Some(body.to_vec()))
            }
            // A bucket that does not exist is an error: nothing in it is missing.
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(GetObjectError::is_no_such_key) =>
            {
                Ok(None)
            }
            Err(error) => Err(call_error::from_sdk("GetObject", region, &error)),
        }
    }

    async fn size(&self, path: &str) -> Result<Option<u64>, CallError> {
        let (region, client, bucket, key) = self.client_of("HeadObject", path)?;
        match client.head_object().bucket(bucket).key(key).send().await {
            Ok(response) => Ok(response
                .content_length
                .and_then(|size| u64::try_from(size).ok())),
            Err(error) if status(&error) == Some(404) => Ok(None),
            // A response to HEAD has no body, so only the status code identifies the error.
            Err(error) if status(&error) == Some(403) => Err(call_error::from_code(
                "HeadObject",
                region,
                "AccessDenied",
                path,
            )),
            Err(error) => Err(call_error::from_sdk("HeadObject", region, &error)),
        }
    }

    async fn list(&self, prefix: &str, visit: &mut dyn FnMut(&str, u64)) -> Result<(), CallError> {
        let (region, client, bucket, key) = self.client_of("ListObjectsV2", prefix)?;
        let start = prefix.strip_suffix(key).unwrap_or(prefix);
        let listing = ("ListObjectsV2", region);
        let visit = RefCell::new(visit);
        let pages = all_pages(listing, |token: Option<String>| async {
            let call = client.list_objects_v2().bucket(bucket).prefix(key);
            let page = call.set_continuation_token(token).send().await;
            let page = page.map_err(|e| call_error::from_sdk(listing.0, region, &e))?;
            for object in page.contents() {
                let size = object.size().and_then(|size| u64::try_from(size).ok());
                if let (Some(key), Some(size)) = (object.key(), size) {
                    (visit.borrow_mut())(&format!("{start}{key}"), size);
                }
            }
            let is_truncated = page.is_truncated == Some(true);
            let next = next_token(listing, is_truncated, page.next_continuation_token)?;
            Ok((Vec::<()>::new(), next))
        });
        pages.await.map(drop)
    }

    async fn create(&self, path: &str, content: Vec<u8>) -> Result<bool, CallError> {
        let (region, client, bucket, key) = self.client_of("PutObject", path)?;
        let call = client.put_object().bucket(bucket).key(key);
        let call = call.if_none_match("*").body(ByteStream::from(content));
        match call.send().await {
            Ok(_) => Ok(true),
            // S3 answers a failed condition with 412.
            Err(error) if status(&error) == Some(412) => Ok(false),
            Err(error) => Err(call_error::from_sdk("PutObject", region, &error)),
        }
    }

    async fn remove(&self, path: &str) -> Result<(), CallError> {
        let (region, client, bucket, key) = self.client_of("DeleteObject", path)?;
        let call = client.delete_object().bucket(bucket).key(key);
        match call.send().await {
            Ok(_) => Ok(()),
            Err(error) => Err(call_error::from_sdk("DeleteObject", region, &error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
    use aws_smithy_runtime_api::client::http::{
        HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
    };
    use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
    use aws_smithy_types::body::SdkBody;

    /// Answers each request with an object of so many bytes.
    #[derive(Debug)]
    struct ObjectOf(usize);

    impl HttpConnector for ObjectOf {
        fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
            let body = SdkBody::from(vec![0; self.0]);
            let mut response = HttpResponse::new(200.try_into().unwrap(), body);
            let headers = response.headers_mut();
            headers.insert("content-length", self.0.to_string());
            HttpConnectorFuture::ready(Ok(response))
        }
    }

    async fn read(length: usize, most: Option<u64>) -> Result<Option<Vec<u8>>, CallError> {
        let connector = SharedHttpConnector::new(ObjectOf(length));
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("a", "b", None, None, "test"))
            .http_client(http_client_fn(move |_, _| connector.clone()));
        let files = S3TableFiles {
            region: "us-east-1".to_owned(),
            client: aws_sdk_s3::Client::from_conf(config.build()),
            others: BTreeMap::new(),
            max_file_bytes: most,
        };
        files.get("s3://lake/t/metadata/m0.avro").await
    }

    #[tokio::test]
    async fn a_longer_file_is_not_read_and_the_error_names_it_for_good() {
        assert_eq!(read(10, Some(10)).await.unwrap().unwrap().len(), 10);
        assert_eq!(read(11, None).await.unwrap().unwrap().len(), 11);
        let error = read(11, Some(10)).await.unwrap_err();
        assert!(!error.kind.is_transient(), "{error:?}");
        for part in ["s3://lake/t/metadata/m0.avro has 11 bytes", "at most 10"] {
            assert!(error.message.contains(part), "{error:?}");
        }
    }
}
