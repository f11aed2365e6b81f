//! Athena. The only file that names the library that speaks its protocol.
//!
//! Owns the client: one request for each call of [`Api`], its answer in our own words, its failure by kind. The library's own
//! retries are off, since the runner's are said and can be stopped.
//!
//! - **Credentials** come from where the archive's do; after one that has run out they are read anew.
//! - **Answers** are those of a stranger: fields may be missing, states unknown, texts long. None of it is a reason to panic.

pub mod api;
pub mod csv;
pub mod kind;
pub mod reason;
pub mod results;
pub mod run;
pub mod settings;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use archive::store::S3Settings;
use archive::store::aws::{of_credentials, shared_config};
use aws_sdk_athena::Client;
use aws_sdk_athena::config::http::HttpResponse;
use aws_sdk_athena::config::retry::RetryConfig;
use aws_sdk_athena::config::timeout::TimeoutConfig;
use aws_sdk_athena::config::{Builder, StalledStreamProtectionConfig};
use aws_sdk_athena::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_athena::types as sdk;
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::rows::{Column, Row};
use api::{
    Api, EngineFailure, Failure, Ids, MAX_PAGE_ROWS, Named, NewNamed, Pending, QueryState, Refused,
    ResultsPage, Start, Statement, Status, Workgroup,
};

pub use run::{Athena, RunError};
pub use settings::{AthenaSettings, AthenaSettingsError};

/// Athena as its own service has it.
#[derive(Debug)]
pub struct Service {
    settings: AthenaSettings,
    /// Where region, credentials and role come from.
    way: S3Settings,
    connection: Mutex<Connection>,
}

/// The library's client, and how often one was made.
#[derive(Debug, Default)]
struct Connection {
    client: Option<Client>,
    generation: u64,
}

/// What an error's body may say beside what the library reads of it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ErrorBody {
    #[serde(rename = "AthenaErrorCode")]
    athena_code: Option<String>,
    #[serde(rename = "Message", alias = "message")]
    message: Option<String>,
}

impl Service {
    /// A client. Asks nobody; wants to be used within a tokio runtime with time and I/O.
    pub fn new(settings: &AthenaSettings, s3: &S3Settings) -> Self {
        let way = S3Settings {
            region: settings.region.clone().or_else(|| s3.region.clone()),
            endpoint: settings.endpoint.clone(),
            ..s3.clone()
        };
        Self {
            settings: settings.clone(),
            way,
            connection: Mutex::default(),
        }
    }

    /// The library's client, made if there is none.
    async fn lend(&self, operation: &'static str) -> Result<(Client, u64), Refused> {
        let mut connection = self.connection.lock().await;
        if let Some(client) = &connection.client {
            return Ok((client.clone(), connection.generation));
        }
        let shared = shared_config(&self.way).await;
        let shared =
            shared.map_err(|error| Refused::new(operation, Failure::Other, &error.to_string()))?;
        let mut config = Builder::from(&shared)
            .retry_config(RetryConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(Duration::from_secs(self.settings.connect_timeout_seconds))
                    .operation_attempt_timeout(Duration::from_secs(
                        self.settings.request_timeout_seconds,
                    ))
                    .build(),
            );
        if let Some(endpoint) = &self.settings.endpoint {
            config = config.endpoint_url(endpoint);
        }
        let client = Client::from_conf(config.build());
        connection.client = Some(client.clone());
        connection.generation += 1;
        Ok((client, connection.generation))
    }

    /// What a failed request means. Credentials that were not taken are forgotten.
    async fn refused<E>(
        &self,
        operation: &'static str,
        generation: u64,
        error: SdkError<E, HttpResponse>,
    ) -> Refused
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let refused = refused(operation, &error);
        if matches!(refused.failure, Failure::Denied | Failure::Expired) {
            let mut connection = self.connection.lock().await;
            if connection.generation == generation {
                connection.client = None;
            }
        }
        refused
    }
}

/// Sends a request, and tells how it failed.
macro_rules! send {
    ($self:ident, $operation:literal, $client:ident => $request:expr) => {{
        let ($client, generation) = $self.lend($operation).await?;
        match $request.send().await {
            Ok(answer) => answer,
            Err(error) => return Err($self.refused($operation, generation, error).await),
        }
    }};
}

impl Api for Service {
    fn start<'a>(&'a self, start: &'a Start) -> Pending<'a, String> {
        const OPERATION: &str = "StartQueryExecution";
        Box::pin(async move {
            let context = sdk::QueryExecutionContext::builder()
                .set_database(start.database.clone())
                .set_catalog(start.catalog.clone())
                .build();
            let place = start.output_location.as_ref().map(|location| {
                sdk::ResultConfiguration::builder()
                    .output_location(location)
                    .build()
            });
            let reuse = start.reuse_minutes.map(|minutes| {
                let by_age = sdk::ResultReuseByAgeConfiguration::builder()
                    .enabled(true)
                    .max_age_in_minutes(i32::try_from(minutes).unwrap_or(i32::MAX))
                    .build();
                sdk::ResultReuseConfiguration::builder()
                    .result_reuse_by_age_configuration(by_age)
                    .build()
            });
            let answer = send!(self, "StartQueryExecution", client => client
                .start_query_execution()
                .query_string(&start.sql)
                .client_request_token(&start.token)
                .query_execution_context(context)
                .set_result_configuration(place)
                .set_result_reuse_configuration(reuse)
                .work_group(&start.workgroup));
            let id = answer.query_execution_id.unwrap_or_default();
            if id.is_empty() {
                let text = "the answer names no execution";
                return Err(Refused::new(OPERATION, Failure::Garbled, text));
            }
            Ok(id)
        })
    }

    fn status<'a>(&'a self, id: &'a str) -> Pending<'a, Status> {
        const OPERATION: &str = "GetQueryExecution";
        Box::pin(async move {
            let answer = send!(self, "GetQueryExecution", client =>
                client.get_query_execution().query_execution_id(id));
            let found = answer.query_execution.map(status_of);
            found
                .unwrap_or(Err("the answer holds no execution"))
                .map_err(|text| Refused::new(OPERATION, Failure::Garbled, text))
        })
    }

    fn stop<'a>(&'a self, id: &'a str) -> Pending<'a, ()> {
        Box::pin(async move {
            send!(self, "StopQueryExecution", client =>
                client.stop_query_execution().query_execution_id(id));
            Ok(())
        })
    }

    fn results<'a>(&'a self, id: &'a str, after: Option<&'a str>) -> Pending<'a, ResultsPage> {
        const OPERATION: &str = "GetQueryResults";
        Box::pin(async move {
            let answer = send!(self, "GetQueryResults", client => client
                .get_query_results()
                .query_execution_id(id)
                .max_results(MAX_PAGE_ROWS)
                .set_next_token(after.map(ToOwned::to_owned)));
            let Some(set) = answer.result_set else {
                let text = "the answer holds no results";
                return Err(Refused::new(OPERATION, Failure::Garbled, text));
            };
            let columns = set.result_set_metadata.and_then(|all| all.column_info);
            let columns = columns
                .unwrap_or_default()
                .into_iter()
                .map(|column| Column {
                    kind: kind::kind(&column.r#type, column.precision, column.scale),
                    name: column.name,
                });
            let rows = set.rows.unwrap_or_default().into_iter().map(|row| -> Row {
                let values = row.data.unwrap_or_default();
                values
                    .into_iter()
                    .map(|value| value.var_char_value)
                    .collect()
            });
            Ok(ResultsPage {
                columns: columns.collect(),
                rows: rows.collect(),
                next: answer.next_token.filter(|token| !token.is_empty()),
            })
        })
    }

    fn workgroup<'a>(&'a self, name: &'a str) -> Pending<'a, Workgroup> {
        const OPERATION: &str = "GetWorkGroup";
        Box::pin(async move {
            let answer = send!(self, "GetWorkGroup", client =>
                client.get_work_group().work_group(name));
            let Some(found) = answer.work_group else {
                let text = format!("the answer holds no workgroup {name}");
                return Err(Refused::new(OPERATION, Failure::Garbled, &text));
            };
            let enabled = found.state != Some(sdk::WorkGroupState::Disabled);
            let Some(settings) = found.configuration else {
                return Ok(Workgroup {
                    enabled,
                    ..Workgroup::default()
                });
            };
            let results = settings.result_configuration;
            let managed = settings.managed_query_results_configuration;
            Ok(Workgroup {
                enabled,
                output_location: results.and_then(|results| results.output_location),
                enforced: settings.enforce_work_group_configuration.unwrap_or(true),
                managed_results: managed.is_some_and(|managed| managed.enabled),
                cutoff_bytes: settings
                    .bytes_scanned_cutoff_per_query
                    .and_then(|bytes| u64::try_from(bytes).ok()),
            })
        })
    }

    fn list_named<'a>(&'a self, workgroup: &'a str, after: Option<&'a str>) -> Pending<'a, Ids> {
        Box::pin(async move {
            let answer = send!(self, "ListNamedQueries", client => client
                .list_named_queries()
                .work_group(workgroup)
                .set_next_token(after.map(ToOwned::to_owned)));
            Ok(Ids {
                ids: answer.named_query_ids.unwrap_or_default(),
                next: answer.next_token.filter(|token| !token.is_empty()),
            })
        })
    }

    fn named<'a>(&'a self, ids: &'a [String]) -> Pending<'a, Vec<Named>> {
        Box::pin(async move {
            let answer = send!(self, "BatchGetNamedQuery", client => client
                .batch_get_named_query()
                .set_named_query_ids(Some(ids.to_vec())));
            let found = answer.named_queries.unwrap_or_default().into_iter();
            let named = found.filter_map(|query| {
                Some(Named {
                    id: query.named_query_id?,
                    name: query.name,
                    description: query.description.unwrap_or_default(),
                    database: query.database,
                    sql: query.query_string,
                })
            });
            Ok(named.collect())
        })
    }

    fn create_named<'a>(&'a self, new: &'a NewNamed) -> Pending<'a, String> {
        const OPERATION: &str = "CreateNamedQuery";
        Box::pin(async move {
            let answer = send!(self, "CreateNamedQuery", client => client
                .create_named_query()
                .name(&new.name)
                .description(&new.description)
                .database(&new.database)
                .query_string(&new.sql)
                .work_group(&new.workgroup)
                .client_request_token(&new.token));
            let id = answer.named_query_id.unwrap_or_default();
            if id.is_empty() {
                let text = "the answer names no query";
                return Err(Refused::new(OPERATION, Failure::Garbled, text));
            }
            Ok(id)
        })
    }

    fn update_named<'a>(&'a self, id: &'a str, new: &'a NewNamed) -> Pending<'a, ()> {
        Box::pin(async move {
            send!(self, "UpdateNamedQuery", client => client
                .update_named_query()
                .named_query_id(id)
                .name(&new.name)
                .description(&new.description)
                .query_string(&new.sql));
            Ok(())
        })
    }
}

fn status_of(found: sdk::QueryExecution) -> Result<Status, &'static str> {
    let Some(status) = found.status else {
        return Err("the execution has no status");
    };
    let state = match status.state {
        None => return Err("the execution has no state"),
        Some(sdk::QueryExecutionState::Queued) => QueryState::Queued,
        Some(sdk::QueryExecutionState::Running) => QueryState::Running,
        Some(sdk::QueryExecutionState::Succeeded) => QueryState::Succeeded,
        Some(sdk::QueryExecutionState::Failed) => QueryState::Failed,
        Some(sdk::QueryExecutionState::Cancelled) => QueryState::Cancelled,
        Some(other) => QueryState::Unknown(api::told(other.as_str())),
    };
    let failure = status.athena_error.as_ref().map(|error| EngineFailure {
        category: error.error_category.unwrap_or_default(),
        number: error.error_type.unwrap_or_default(),
        retryable: error.retryable,
    });
    let reason = status
        .state_change_reason
        .filter(|reason| !reason.is_empty())
        .or_else(|| status.athena_error.and_then(|error| error.error_message));
    let statistics = found.statistics;
    let scanned = statistics
        .as_ref()
        .and_then(|all| all.data_scanned_in_bytes);
    let reuse = statistics.and_then(|all| all.result_reuse_information);
    let managed = found.managed_query_results_configuration;
    let is_managed = managed.is_some_and(|managed| managed.enabled);
    let place = found
        .result_configuration
        .and_then(|all| all.output_location);
    Ok(Status {
        state,
        reason: api::told(&reason.unwrap_or_default()),
        failure,
        bytes_scanned: u64::try_from(scanned.unwrap_or(0)).unwrap_or(0),
        reused: reuse.is_some_and(|reuse| reuse.reused_previous_result),
        statement: match found.statement_type {
            Some(sdk::StatementType::Dml) => Statement::Dml,
            Some(sdk::StatementType::Ddl) => Statement::Ddl,
            Some(sdk::StatementType::Utility) => Statement::Utility,
            _ => Statement::Unknown,
        },
        output_location: place.filter(|place| !is_managed && !place.is_empty()),
    })
}

/// What a failed request means.
fn refused<E>(operation: &'static str, error: &SdkError<E, HttpResponse>) -> Refused
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let Some(response) = error.raw_response() else {
        let failure = match error {
            _ if of_credentials(error) => Failure::Denied,
            SdkError::ConstructionFailure(_) => Failure::Other,
            _ => Failure::Lost,
        };
        return Refused::new(operation, failure, &chain(error));
    };
    let Some(body) = response.body().bytes() else {
        // It broke off before its end.
        return Refused::new(operation, Failure::Lost, &chain(error));
    };
    let said: ErrorBody = serde_json::from_slice(body).unwrap_or_default();
    let service = error.as_service_error();
    let code = service.and_then(ProvideErrorMetadata::code);
    let message = service
        .and_then(ProvideErrorMetadata::message)
        .map(ToOwned::to_owned)
        .or(said.message);
    let status = response.status().as_u16();
    let words = Words {
        status,
        code: code.unwrap_or_default(),
        athena_code: said.athena_code.as_deref().unwrap_or_default(),
        message: message.as_deref().unwrap_or_default(),
    };
    let failure = words.failure();
    let text = match (code, &message) {
        (_, Some(message)) if failure == Failure::Statement => message.clone(),
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => format!("status {status}, {code}"),
        (None, _) => format!("status {status}, {}", chain(error)),
    };
    Refused::new(operation, failure, &text)
}

/// What a refusal says.
struct Words<'a> {
    status: u16,
    code: &'a str,
    athena_code: &'a str,
    message: &'a str,
}

impl Words<'_> {
    fn failure(&self) -> Failure {
        match self.athena_code {
            "IDEMPOTENT_PARAMETER_MISMATCH" => return Failure::TokenTaken,
            "MALFORMED_QUERY" => return Failure::Statement,
            _ => {}
        }
        let message = self.message.to_lowercase();
        let of_time = ["expired", "not yet current", "skew"];
        match self.code {
            "TooManyRequestsException"
            | "ThrottlingException"
            | "Throttling"
            | "RequestLimitExceeded"
            | "RequestThrottledException"
            | "SlowDown" => return Failure::Throttled,
            "ExpiredTokenException" | "ExpiredToken" => return Failure::Expired,
            "RequestTimeTooSkewed" | "RequestExpired" | "RequestInTheFuture" => {
                return Failure::Skewed;
            }
            "InvalidSignatureException" | "SignatureDoesNotMatch"
                if of_time.iter().any(|word| message.contains(word)) =>
            {
                return Failure::Skewed;
            }
            "AccessDeniedException"
            | "AccessDenied"
            | "UnrecognizedClientException"
            | "InvalidClientTokenId"
            | "InvalidSignatureException"
            | "SignatureDoesNotMatch"
            | "IncompleteSignatureException"
            | "MissingAuthenticationTokenException"
            | "MissingAuthenticationToken"
            | "NotAuthorized"
            | "OptInRequired" => return Failure::Denied,
            "InternalServerException"
            | "InternalFailure"
            | "ServiceUnavailable"
            | "ServiceUnavailableException" => return Failure::Server,
            _ => {}
        }
        match self.status {
            // A success that cannot be read.
            200..300 => Failure::Garbled,
            401 | 403 => Failure::Denied,
            408 => Failure::Lost,
            429 => Failure::Throttled,
            500.. => Failure::Server,
            _ => Failure::Other,
        }
    }
}

/// The errors within each other, without the library's shell, which says nothing itself.
fn chain(error: &dyn Error) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut next = error.source().or(Some(error));
    while let Some(error) = next {
        let text = error.to_string();
        if texts.last() != Some(&text) {
            texts.push(text);
        }
        next = error.source();
    }
    texts.join(": ")
}

/// The client as the runner takes it.
pub fn client(settings: &AthenaSettings, s3: &S3Settings) -> Arc<dyn Api> {
    Arc::new(Service::new(settings, s3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_apart() {
        for (status, code, athena_code, message, failure) in [
            (400, "TooManyRequestsException", "", "", Failure::Throttled),
            (400, "ThrottlingException", "", "", Failure::Throttled),
            (429, "", "", "", Failure::Throttled),
            (500, "InternalServerException", "", "", Failure::Server),
            (502, "", "", "", Failure::Server),
            (
                400,
                "InvalidRequestException",
                "IDEMPOTENT_PARAMETER_MISMATCH",
                "",
                Failure::TokenTaken,
            ),
            (
                400,
                "InvalidRequestException",
                "MALFORMED_QUERY",
                "",
                Failure::Statement,
            ),
            (
                400,
                "InvalidRequestException",
                "INVALID_INPUT",
                "",
                Failure::Other,
            ),
            (400, "ExpiredTokenException", "", "", Failure::Expired),
            (
                400,
                "InvalidSignatureException",
                "",
                "Signature expired: 1 is now earlier than 2",
                Failure::Skewed,
            ),
            (400, "InvalidSignatureException", "", "x", Failure::Denied),
            (400, "AccessDeniedException", "", "", Failure::Denied),
            (403, "", "", "", Failure::Denied),
            (200, "", "", "", Failure::Garbled),
        ] {
            let words = Words {
                status,
                code,
                athena_code,
                message,
            };
            assert_eq!(words.failure(), failure, "{status} {code} {athena_code}");
        }
    }

    #[test]
    fn an_execution_with_holes_is_an_error_or_has_less_in_it() {
        let empty = sdk::QueryExecution::builder().build();
        assert_eq!(status_of(empty), Err("the execution has no status"));
        let no_state = sdk::QueryExecutionStatus::builder().build();
        let execution = sdk::QueryExecution::builder().status(no_state).build();
        assert_eq!(status_of(execution), Err("the execution has no state"));
        let status = sdk::QueryExecutionStatus::builder()
            .state(sdk::QueryExecutionState::from("PAUSED"))
            .build();
        let statistics = sdk::QueryExecutionStatistics::builder()
            .data_scanned_in_bytes(-1)
            .build();
        let execution = sdk::QueryExecution::builder()
            .status(status)
            .statistics(statistics)
            .build();
        let expected = Status {
            state: QueryState::Unknown("PAUSED".to_owned()),
            reason: String::new(),
            failure: None,
            bytes_scanned: 0,
            reused: false,
            statement: Statement::Unknown,
            output_location: None,
        };
        assert_eq!(status_of(execution), Ok(expected));
    }
}
