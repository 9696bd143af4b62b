//! `twinlake setup storage --primary --standby` (without `--attach`): makes the storage of a lake, as
//! `stacks/storage.yaml` does.

use super::StorageArgs;
use super::attached_buckets::find_queue;
use super::setup_run::{SetupMode, SetupRun};
use crate::{CliError, CommandOutcome, output};
use twinlake_aws::{AwsInfrastructure, Clients, LakeSetup, S3BucketSetup};
use twinlake_core::arn::Arn;
use twinlake_core::lake_setup::{BucketEncryption, LakeStorage, SetupState, service_trust};
use twinlake_core::readiness::Reading;
use twinlake_core::replication_setup::{REPLICATION_EVENTS, notification_state};
use twinlake_core::topology::Site;
use twinlake_engine::ports::ReadInfrastructure as _;

/// The longest name of a lake: the names of its roles and buckets hold the Regions, too.
pub(super) const MAX_NAME_CHARS: usize = 16;

/// Stands for the ARN of a key that is not made yet. No key has it.
pub(super) const NEW_KEY: &str = "(the new key)";

const OTHER_NAME: &str = "Choose another name with --lake-name.";

/// The storage of one Region, and what reads and makes it.
struct RegionStorage {
    storage: LakeStorage,
    setup: LakeSetup,
    buckets: S3BucketSetup,
    infrastructure: AwsInfrastructure,
    /// The queue of Twinlake's stack for notifications.
    queue: Option<String>,
}

impl RegionStorage {
    async fn connect(
        args: &StorageArgs,
        account: &str,
        region: &str,
        peer: &str,
    ) -> Result<Self, CliError> {
        let clients = Clients::connect(region).await;
        let site = Site {
            region: region.to_owned(),
            account: account.to_owned(),
            role: None,
        };
        Ok(Self {
            storage: LakeStorage {
                lake: args.lake_name.clone(),
                account: account.to_owned(),
                region: region.to_owned(),
                peer: peer.to_owned(),
            },
            setup: LakeSetup::new(&clients, account),
            buckets: S3BucketSetup::new(&clients),
            infrastructure: AwsInfrastructure::new(&clients),
            queue: find_queue(&site, &args.stack).await?,
        })
    }

    /// The key and the bucket. Returns the ARN of the key.
    async fn ensure_bucket(
        &self,
        run: &mut SetupRun,
        args: &StorageArgs,
    ) -> Result<String, CliError> {
        let (storage, setup) = (&self.storage, &self.setup);
        let bucket = &storage.bucket();
        let key = ensure_key(
            run,
            setup,
            &KeyNames {
                alias: storage.key_alias(),
                description: storage.key_description(),
                policy: storage.key_policy(),
            },
            OTHER_NAME,
        )
        .await?;
        ensure_private_bucket(run, setup, &self.buckets, bucket, OTHER_NAME).await?;
        let encryption = BucketEncryption::Kms(key.clone());
        run.ensure(
            &format!("encrypt new objects of {bucket} with {key}"),
            setup.encryption(bucket, &encryption).await,
            async || setup.encrypt_with(bucket, &key).await,
        )
        .await?;
        let rules = storage.lifecycle(args.noncurrent_version_days, args.result_days);
        run.ensure(
            &format!("set the lifecycle rules of {bucket}"),
            setup.lifecycle(bucket, &rules).await,
            async || setup.put_lifecycle(bucket, &rules).await,
        )
        .await?;
        let policy = storage.bucket_policy(&key);
        run.ensure(
            &format!(
                "set the policy of {bucket}: TLS only, no other key for data, and no tables among query results"
            ),
            setup.bucket_policy_state(bucket, &policy).await,
            async || setup.put_bucket_policy(bucket, &policy).await,
        )
        .await?;
        Ok(key)
    }

    /// The replication role, and the rules to the other Region.
    async fn ensure_replication(
        &self,
        run: &mut SetupRun,
        args: &StorageArgs,
        key: &str,
        peer_key: &str,
    ) -> Result<(), CliError> {
        let (storage, setup) = (&self.storage, &self.setup);
        let bucket = &storage.bucket();
        let role = storage.replication_role();
        let policy = storage.replication_policy(key, peer_key);
        ensure_role(
            run,
            setup,
            &role,
            "s3.amazonaws.com",
            ("replication", &policy),
        )
        .await?;
        let (role, rules) = (storage.role_arn(&role), storage.replication_rules(peer_key));
        let with_time_control = args.replication_time_control;
        run.ensure(
            &format!("replicate {bucket} to {}", storage.peer_bucket()),
            setup
                .replication(bucket, &role, &rules, with_time_control)
                .await,
            async || {
                setup
                    .put_replication(bucket, &role, &rules, with_time_control)
                    .await
            },
        )
        .await
    }

    /// The registration role, and the locations that Lake Formation gives access to with it.
    async fn ensure_registrations(&self, run: &mut SetupRun, key: &str) -> Result<(), CliError> {
        let (storage, setup) = (&self.storage, &self.setup);
        let role = storage.registration_role();
        let policy = storage.registration_policy(key);
        ensure_role(
            run,
            setup,
            &role,
            "lakeformation.amazonaws.com",
            ("locations", &policy),
        )
        .await?;
        for registration in storage.registrations() {
            run.ensure(
                &format!("register {} with Lake Formation", registration.arn),
                setup.registration(&registration).await,
                async || setup.register(&registration).await,
            )
            .await?;
        }
        Ok(())
    }

    /// Athena's workgroup of the lake.
    async fn ensure_workgroup(&self, run: &mut SetupRun, key: &str) -> Result<(), CliError> {
        let (storage, setup) = (&self.storage, &self.setup);
        let (name, results) = (&storage.lake, storage.result_location());
        let description = storage.workgroup_description();
        run.ensure(
            &format!("create the Athena workgroup {name}, with results in {results}"),
            setup.workgroup(name, &results, key).await,
            async || {
                setup
                    .create_workgroup(name, &description, &results, key)
                    .await
            },
        )
        .await
    }

    /// What needs the buckets and keys of both Regions: the rules, and the access by Lake Formation and Athena.
    async fn ensure_replication_and_access(
        &self,
        run: &mut SetupRun,
        args: &StorageArgs,
        (key, peer_key): (&str, &str),
    ) -> Result<(), CliError> {
        self.ensure_replication(run, args, key, peer_key).await?;
        self.ensure_notification(run).await?;
        self.ensure_registrations(run, key).await?;
        self.ensure_workgroup(run, key).await
    }

    /// The notifications of S3 about replication, to Twinlake's queue.
    async fn ensure_notification(&self, run: &mut SetupRun) -> Result<(), CliError> {
        let bucket = &self.storage.bucket();
        let Some(queue) = &self.queue else {
            run.print(
                "no Twinlake stack is here yet, so replication notifications are sent nowhere: repeat the \
                 command after the deployment",
            );
            return Ok(());
        };
        let readings = self.infrastructure.bucket(bucket).await;
        let state = match (&readings.region, &readings.notifications) {
            (Reading::Read(None), _) => SetupState::Missing,
            (_, Reading::Read(targets)) => notification_state(targets, queue),
            (_, Reading::Unread(error)) => {
                SetupState::Different(format!("the notifications could not be read: {error}"))
            }
        };
        run.ensure(
            &format!("send {REPLICATION_EVENTS} of {bucket} to {queue}"),
            Ok(state),
            async || self.buckets.add_notification(bucket, queue).await,
        )
        .await
    }
}

/// How a key is found and made.
pub(super) struct KeyNames {
    pub(super) alias: String,
    pub(super) description: String,
    pub(super) policy: serde_json::Value,
}

/// A key with rotation and alias. Returns its ARN, or [`NEW_KEY`] if it is only shown.
pub(super) async fn ensure_key(
    run: &mut SetupRun,
    setup: &LakeSetup,
    names: &KeyNames,
    hint: &str,
) -> Result<String, CliError> {
    let KeyNames {
        alias,
        description,
        policy,
    } = names;
    let found = setup.key(alias, description, policy).await?;
    let state = found.as_ref().map(|key| key.state.clone());
    let created = run
        .ensure_or_fail(
            &format!("create a KMS key: {description}"),
            Ok(state.unwrap_or(SetupState::Missing)),
            async || setup.create_key(description, policy).await,
            hint,
        )
        .await?;
    // KMS may not list a key yet that was just made: its ARN is the one that KMS returned.
    let arn = found.as_ref().map(|key| key.arn.as_str());
    let arn = arn.or(created.as_deref()).unwrap_or(NEW_KEY);
    let rotation = match &found {
        None => Ok(SetupState::Missing),
        Some(key) => setup.key_rotation(&key.arn).await,
    };
    run.ensure("rotate the key each year", rotation, async || {
        setup.enable_key_rotation(arn).await
    })
    .await?;
    let has_alias = found.as_ref().is_some_and(|key| key.has_alias);
    let alias_state = match has_alias {
        true => SetupState::Equal,
        false => SetupState::Missing,
    };
    run.ensure(
        &format!("name the key {alias}"),
        Ok(alias_state),
        async || setup.create_alias(alias, arn).await,
    )
    .await?;
    Ok(arn.to_owned())
}

/// A versioned bucket without ACLs and public access.
pub(super) async fn ensure_private_bucket(
    run: &mut SetupRun,
    setup: &LakeSetup,
    buckets: &S3BucketSetup,
    bucket: &str,
    hint: &str,
) -> Result<(), CliError> {
    run.ensure_or_fail(
        &format!("create the bucket {bucket}"),
        setup.bucket(bucket).await,
        async || setup.create_bucket(bucket).await,
        hint,
    )
    .await?;
    run.ensure(
        &format!("turn on the versioning of {bucket}"),
        setup.versioning(bucket).await,
        async || buckets.enable_versioning(bucket).await,
    )
    .await?;
    run.ensure(
        &format!("turn off the ACLs of {bucket}"),
        setup.ownership(bucket).await,
        async || setup.enforce_ownership(bucket).await,
    )
    .await?;
    run.ensure(
        &format!("block public access to {bucket}"),
        setup.public_access_block(bucket).await,
        async || setup.block_public_access(bucket).await,
    )
    .await
}

/// A role that a service assumes, with one inline policy of this name.
async fn ensure_role(
    run: &mut SetupRun,
    setup: &LakeSetup,
    role: &str,
    service: &str,
    (name, policy): (&str, &serde_json::Value),
) -> Result<(), CliError> {
    let trust = service_trust(service);
    run.ensure_or_fail(
        &format!("create the role {role}"),
        setup.role(role, &trust).await,
        async || setup.create_role(role, &trust).await,
        OTHER_NAME,
    )
    .await?;
    run.ensure(
        &format!("give the role {role} its permissions"),
        setup.role_policy(role, name, policy).await,
        async || setup.put_role_policy(role, name, policy).await,
    )
    .await
}

pub(super) async fn run(
    args: &StorageArgs,
    regions: [&str; 2],
) -> Result<CommandOutcome, CliError> {
    let [primary, standby] = regions;
    let account = account_of_caller(primary).await?;
    let storages = [
        RegionStorage::connect(args, &account, primary, standby).await?,
        RegionStorage::connect(args, &account, standby, primary).await?,
    ];
    let shown = walk(&storages, args, SetupMode::Show).await?;
    if shown.missing == 0 {
        if !shown.has_differences {
            output::print("Everything is there. No changes are needed.");
        }
        return Ok(CommandOutcome::done_if(!shown.has_differences));
    }
    if args.dry_run || (!args.yes && !output::confirm("Make these changes?")?) {
        return Ok(CommandOutcome::AttentionNeeded);
    }
    let made = walk(&storages, args, SetupMode::Make).await?;
    output::print(&format!(
        "Done. Next: twinlake setup audit --primary {primary} --standby {standby}"
    ));
    Ok(CommandOutcome::done_if(!made.has_differences))
}

/// S3 accepts a replication rule only if the destination bucket exists and is versioned, and a rule names
/// the key of the destination: so keys and buckets come first, in both Regions.
async fn walk(
    storages: &[RegionStorage; 2],
    args: &StorageArgs,
    mode: SetupMode,
) -> Result<SetupRun, CliError> {
    let [primary, standby] = storages;
    let mut run = SetupRun::new(mode);
    run.enter(&primary.storage.region);
    let key = primary.ensure_bucket(&mut run, args).await?;
    run.enter(&standby.storage.region);
    let peer_key = standby.ensure_bucket(&mut run, args).await?;
    standby
        .ensure_replication_and_access(&mut run, args, (&peer_key, &key))
        .await?;
    run.enter(&primary.storage.region);
    primary
        .ensure_replication_and_access(&mut run, args, (&key, &peer_key))
        .await?;
    Ok(run)
}

/// The account that the command works in.
pub(super) async fn account_of_caller(region: &str) -> Result<String, CliError> {
    let caller = Clients::connect(region).await.caller().await?;
    match Arn::parse(&caller.0).map(|arn| arn.account.to_owned()) {
        Some(account) if !account.is_empty() => Ok(account),
        Some(_) | None => Err(CliError::Usage(format!(
            "STS reports the caller {}, which names no account",
            caller.0
        ))),
    }
}
