//! The way into AWS: where region, credentials and role come from.
//!
//! Owns what every client of AWS's is made from, so that a bucket and a query engine are reached with the same rights.

use std::error::Error;

use aws_config::meta::region::RegionProviderChain;
use aws_config::sts::AssumeRoleProvider;
use aws_config::{BehaviorVersion, ConfigLoader, Region, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_credential_types::provider::error::CredentialsError;
use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};

use super::S3Settings;

/// The region that requests are signed for where nobody names one and an endpoint is set: what other makes expect.
const DEFAULT_REGION: &str = "us-east-1";

/// Nobody says which region requests are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no region is set: neither here nor in environment, profile or instance")]
pub struct NoRegion;

/// What a client of any of AWS's services is made from. Of the settings, those that speak of the bucket alone do not matter.
/// Asks instance and token services where it comes to that.
pub async fn shared_config(settings: &S3Settings) -> Result<SdkConfig, NoRegion> {
    load(settings, aws_config::defaults(BehaviorVersion::latest())).await
}

/// The same, from a loader that knows more.
pub(super) async fn load(
    settings: &S3Settings,
    mut loader: ConfigLoader,
) -> Result<SdkConfig, NoRegion> {
    let mut regions = RegionProviderChain::first_try(settings.region.clone().map(Region::new));
    if settings.region.is_none() {
        regions = regions.or_default_provider();
        if settings.endpoint.is_some() {
            regions = regions.or_else(Region::from_static(DEFAULT_REGION));
        }
    }
    loader = loader.region(regions);
    if let Some(profile) = &settings.profile {
        loader = loader.profile_name(profile);
    }
    if let Some(path) = &settings.credentials_file {
        loader = loader.profile_files(
            EnvConfigFiles::builder()
                .include_default_config_file(true)
                .with_file(EnvConfigFileKind::Credentials, path)
                .build(),
        );
    }
    // The library's futures are large, so they are kept out of the callers'.
    let shared = Box::pin(loader.load()).await;
    if shared.region().is_none() {
        return Err(NoRegion);
    }
    let Some(arn) = &settings.role_arn else {
        return Ok(shared);
    };
    let role = Box::pin(role(settings, arn, shared.clone())).await;
    let with_role = shared
        .into_builder()
        .credentials_provider(SharedCredentialsProvider::new(role));
    Ok(with_role.build())
}

/// What assumes the role with the credentials found so far.
async fn role(settings: &S3Settings, arn: &str, shared: SdkConfig) -> AssumeRoleProvider {
    let base = shared.credentials_provider();
    let mut builder = shared.into_builder();
    if let Some(endpoint) = &settings.sts_endpoint {
        builder.set_endpoint_url(Some(endpoint.clone()));
    }
    let mut role = AssumeRoleProvider::builder(arn).configure(&builder.build());
    if let Some(id) = &settings.external_id {
        role = role.external_id(id);
    }
    if let Some(name) = &settings.session_name {
        role = role.session_name(name);
    }
    match base {
        Some(base) => role.build_from_provider(base).await,
        None => role.build().await,
    }
}

/// Whether a request was not even sent, for want of credentials.
pub fn of_credentials(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<CredentialsError>() {
            return true;
        }
        next = error.source();
    }
    false
}
