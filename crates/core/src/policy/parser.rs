//! Parses a policy document, with errors that name line and key.

mod warehouses;

use super::pattern::{Pattern, Patterns};
use super::query::{AthenaTagsPolicy, GlueToolsPolicy, QueryPolicy};
use super::{
    ColumnStatisticsPolicy, DataCellsFilterScan, DataLakeSettingsPolicy, DeletionLimit,
    DeletionPolicy, GlueTagsPolicy, IcebergPolicy, Policy, ScanInterval, UnmappedLocation,
};
use crate::catalog;
use crate::document::{DocumentError, DocumentSource};
use crate::grant::{Principal, PrincipalPatterns};
use crate::location::{CopiedBy, Location, LocationMap, LocationPair};
use crate::topology::{BySite, Site, SiteId, is_region_name};
use serde::Deserialize;
use std::collections::BTreeMap;
use toml::Spanned;
use warehouses::RawWarehouse;

/// The format of policy documents that this Twinlake reads.
pub const FORMAT: u32 = 1;

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Document {
    version: Option<Spanned<u32>>,
    #[serde(default)]
    region: Vec<Spanned<RawSite>>,
    #[serde(default = "everything")]
    include: Vec<Spanned<String>>,
    #[serde(default)]
    exclude: Vec<Spanned<String>>,
    #[serde(default)]
    location: Vec<Spanned<RawLocation>>,
    #[serde(default)]
    catalog: Vec<Spanned<RawPair>>,
    #[serde(default)]
    principal: Vec<Spanned<RawPair>>,
    #[serde(default)]
    ignored_principals: Vec<Spanned<String>>,
    #[serde(default)]
    data_lake_settings: DataLakeSettingsPolicy,
    #[serde(default)]
    unmapped_location: UnmappedLocation,
    #[serde(default)]
    iceberg: IcebergPolicy,
    #[serde(default)]
    column_statistics: ColumnStatisticsPolicy,
    #[serde(default)]
    data_cells_filter_scan: DataCellsFilterScan,
    #[serde(default = "daily")]
    partition_scan: ScanInterval,
    #[serde(default = "weekly")]
    attachment_scan: ScanInterval,
    #[serde(default)]
    glue_tags: GlueTagsPolicy,
    #[serde(default)]
    deletions: DeletionPolicy,
    #[serde(default)]
    deletion_limit: RawDeletionLimit,
    query: Option<RawQuery>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RawQuery {
    #[serde(default)]
    exclude_workgroups: Vec<Spanned<String>>,
    #[serde(default)]
    tags: AthenaTagsPolicy,
    #[serde(default)]
    glue_tools: GlueToolsPolicy,
    #[serde(default)]
    result_location: Vec<Spanned<RawPair>>,
    #[serde(default)]
    kms_key: Vec<Spanned<RawPair>>,
    #[serde(default)]
    network: Vec<Spanned<RawPair>>,
    #[serde(default)]
    warehouse: Vec<Spanned<RawWarehouse>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSite {
    id: Spanned<String>,
    region: Spanned<String>,
    account: Spanned<String>,
    role: Option<Spanned<String>>,
}

/// A text for each site, by the site's id. Other ids than `a` and `b` parse; `by_site` refuses them.
type RawPair = BTreeMap<String, Spanned<String>>;

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RawLocation {
    #[serde(default)]
    copied_by: CopiedBy,
    #[serde(flatten)]
    sites: BTreeMap<String, String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawDeletionLimit {
    fraction: Option<Spanned<f64>>,
    minimum: Option<usize>,
}

const DEFAULT_DELETION_FRACTION: f64 = 0.1;
const DEFAULT_DELETION_MINIMUM: usize = 10;

fn daily() -> ScanInterval {
    ScanInterval::Daily
}

fn weekly() -> ScanInterval {
    ScanInterval::Weekly
}

fn everything() -> Vec<Spanned<String>> {
    vec![Spanned::new(0..0, "*".to_owned())]
}

pub(super) fn parse(text: &str) -> Result<Policy, DocumentError> {
    let source = Source(DocumentSource {
        document: "policy",
        text,
    });
    let document: Document = source.0.parse()?;
    source.0.check_version(document.version.as_ref(), FORMAT)?;
    let sites = source.sites(&document.region)?;
    let mut policy = Policy {
        sites,
        patterns: Patterns::new(
            source.patterns("include", &document.include, Pattern::parse_include)?,
            source.patterns("exclude", &document.exclude, Pattern::parse_exclude)?,
        ),
        locations: source.locations(&document.location)?,
        catalogs: source.catalogs(&document.catalog)?,
        principals: source.principals(&document.principal)?,
        ignored_principals: source.ignored_principals(&document.ignored_principals)?,
        data_lake_settings: document.data_lake_settings,
        unmapped_location: document.unmapped_location,
        iceberg: document.iceberg,
        column_statistics: document.column_statistics,
        data_cells_filter_scan: document.data_cells_filter_scan,
        partition_scan: document.partition_scan,
        attachment_scan: document.attachment_scan,
        glue_tags: document.glue_tags,
        deletions: document.deletions,
        deletion_limit: source.deletion_limit(&document.deletion_limit)?,
        query: document
            .query
            .as_ref()
            .map(|raw| source.query(raw))
            .transpose()?,
        digest: String::new(),
        text: text.to_owned(),
    };
    policy.digest = digest(&policy);
    Ok(policy)
}

fn digest(policy: &Policy) -> String {
    let pair = |pair: &LocationPair| {
        let BySite { a, b } = &pair.sites;
        (a.to_string(), b.to_string(), pair.copied_by)
    };
    let pairs: Vec<(String, String, CopiedBy)> =
        policy.locations.pairs().iter().map(pair).collect();
    let digest = catalog::digest(&(
        (
            FORMAT,
            &policy.sites,
            policy.patterns.texts(),
            pairs,
            &policy.catalogs,
            &policy.principals,
            policy.ignored_principals.texts(),
            policy.data_lake_settings,
        ),
        (
            policy.unmapped_location,
            policy.iceberg,
            policy.column_statistics,
            policy.data_cells_filter_scan,
            policy.partition_scan,
            policy.attachment_scan,
            policy.glue_tags,
            policy.deletions,
            policy.deletion_limit,
        ),
    ));
    match &policy.query {
        Some(query) => {
            let digest = catalog::digest(&(digest, query.digest_parts()));
            // Without one of these keys, that of versions that did not know it.
            let digest = match query.glue_tools {
                GlueToolsPolicy::Leave => digest,
                GlueToolsPolicy::Copy => catalog::digest(&(digest, query.glue_tools)),
            };
            let digest = match query.networks.is_empty() {
                true => digest,
                false => catalog::digest(&(digest, "networks", &query.networks)),
            };
            match query.warehouses.is_empty() {
                true => digest,
                false => catalog::digest(&(digest, "warehouses", &query.warehouses)),
            }
        }
        None => digest,
    }
}

struct Source<'a>(DocumentSource<'a>);

impl Source<'_> {
    fn error(&self, at: usize, key: &str, problem: impl Into<String>) -> DocumentError {
        self.0.error(at, key, problem)
    }

    fn sites(&self, raw: &[Spanned<RawSite>]) -> Result<BySite<Site>, DocumentError> {
        if let Some(third) = raw.get(2) {
            let problem = format!(
                "this version replicates between two Regions, and {} are named; keep two \
                 [[region]] tables",
                raw.len()
            );
            return Err(self.error(third.span().start, "region", problem));
        }
        let site = |id: SiteId| {
            let mut named = raw
                .iter()
                .filter(|raw| raw.get_ref().id.get_ref() == id.as_str());
            let found = named.next().ok_or_else(|| {
                let at = raw.first().map_or(0, |raw| raw.span().start);
                let problem = format!(
                    "name two Regions, one [[region]] table with id = \"a\" and one with \
                     id = \"b\"; id = \"{id}\" is missing"
                );
                self.error(at, "region", problem)
            })?;
            self.site(found.get_ref())
        };
        let sites = BySite {
            a: site(SiteId::A)?,
            b: site(SiteId::B)?,
        };
        self.check_sites(&sites, raw)?;
        Ok(sites)
    }

    fn check_sites(
        &self,
        sites: &BySite<Site>,
        raw: &[Spanned<RawSite>],
    ) -> Result<(), DocumentError> {
        let last = raw.last().map(Spanned::get_ref);
        let at = |text: Option<&Spanned<String>>| text.map_or(0, |text| text.span().start);
        if sites.a.region == sites.b.region {
            let problem = "both sites are the same Region; name two";
            return Err(self.error(at(last.map(|raw| &raw.region)), "region.region", problem));
        }
        if sites.a.account != sites.b.account {
            let problem = "this version replicates within one account; both sites must name \
                           the same";
            return Err(self.error(at(last.map(|raw| &raw.account)), "region.account", problem));
        }
        if sites.a.partition() != sites.b.partition() {
            let problem = format!(
                "the Regions are of different AWS partitions ({} and {}), which share neither \
                 IAM principals nor S3 replication",
                sites.a.partition(),
                sites.b.partition()
            );
            return Err(self.error(at(last.map(|raw| &raw.region)), "region.region", problem));
        }
        Ok(())
    }

    fn site(&self, raw: &RawSite) -> Result<Site, DocumentError> {
        let region = raw.region.get_ref();
        if !is_region_name(region) {
            let problem = "this is no AWS Region; write it as in \"us-east-1\"";
            return Err(self.error(raw.region.span().start, "region.region", problem));
        }
        let account = raw.account.get_ref();
        if account.len() != 12 || !account.chars().all(|c| c.is_ascii_digit()) {
            let problem = "an account is twelve digits, in quotes";
            return Err(self.error(raw.account.span().start, "region.account", problem));
        }
        if let Some(role) = &raw.role {
            let problem = "a role is for a site in another account, which this version does not \
                           support; remove the key";
            return Err(self.error(role.span().start, "region.role", problem));
        }
        Ok(Site {
            region: region.clone(),
            account: account.clone(),
            role: None,
        })
    }

    fn patterns(
        &self,
        key: &str,
        raw: &[Spanned<String>],
        parse: fn(&str) -> Result<Pattern, String>,
    ) -> Result<Vec<Pattern>, DocumentError> {
        let parse = |text: &Spanned<String>| {
            parse(text.get_ref()).map_err(|problem| self.error(text.span().start, key, problem))
        };
        raw.iter().map(parse).collect()
    }

    fn locations(&self, raw: &[Spanned<RawLocation>]) -> Result<LocationMap, DocumentError> {
        let mut pairs = Vec::new();
        for entry in raw {
            let start = entry.span().start;
            let texts = self.by_site("location", start, &entry.get_ref().sites)?;
            let location = |id: SiteId| {
                Location::parse(texts.get(id))
                    .map_err(|e| self.error(start, &format!("location.{id}"), e.to_string()))
            };
            pairs.push(LocationPair {
                sites: BySite {
                    a: location(SiteId::A)?,
                    b: location(SiteId::B)?,
                },
                copied_by: entry.get_ref().copied_by,
            });
        }
        LocationMap::new(pairs).map_err(|(at, earlier)| {
            let start = |at: usize| raw.get(at).map_or(0, |pair| pair.span().start);
            let problem = format!(
                "one of these locations lies in a location of the pair on line {}, or the other \
                 way round; name locations that do not overlap, so that each has one counterpart",
                self.0.line_of(start(earlier))
            );
            self.error(start(at), "location", problem)
        })
    }

    /// The text of each site, if just the ids of the sites are named.
    fn by_site(
        &self,
        key: &str,
        at: usize,
        texts: &BTreeMap<String, String>,
    ) -> Result<BySite<String>, DocumentError> {
        let known = |id: &String| SiteId::ALL.iter().any(|site| site.as_str() == id.as_str());
        if let Some(unknown) = texts.keys().find(|id| !known(id)) {
            let problem = "no [[region]] table has this id; the keys are the ids of the Regions";
            return Err(self.error(at, &format!("{key}.{unknown}"), problem));
        }
        let text = |site: SiteId| {
            texts.get(site.as_str()).cloned().ok_or_else(|| {
                let problem = format!("a pair names both Regions: `{site}` is missing");
                self.error(at, key, problem)
            })
        };
        Ok(BySite {
            a: text(SiteId::A)?,
            b: text(SiteId::B)?,
        })
    }

    /// Pairs of texts of which each has one counterpart.
    fn pairs(
        &self,
        key: &str,
        raw: &[Spanned<RawPair>],
        problem_of: impl Fn(&str) -> Option<&'static str>,
    ) -> Result<Vec<BySite<String>>, DocumentError> {
        let mut pairs: Vec<BySite<String>> = Vec::new();
        for entry in raw {
            let start = entry.span().start;
            let texts = entry.get_ref().iter();
            let texts = texts
                .map(|(id, text)| (id.clone(), text.get_ref().clone()))
                .collect();
            let pair = self.by_site(key, start, &texts)?;
            let named = SiteId::ALL.map(|site| pair.get(site).as_str());
            if let Some(problem) = named.into_iter().find_map(&problem_of) {
                return Err(self.error(start, key, problem));
            }
            if pairs
                .iter()
                .any(|known| known.a == pair.a || known.b == pair.b)
            {
                let problem = format!(
                    "an earlier pair already names one of these {key}s; each has one counterpart"
                );
                return Err(self.error(start, key, problem));
            }
            pairs.push(pair);
        }
        Ok(pairs)
    }

    /// Catalogs of other accounts that resource links point at.
    fn catalogs(&self, raw: &[Spanned<RawPair>]) -> Result<Vec<BySite<String>>, DocumentError> {
        self.pairs("catalog", raw, |id| {
            id.is_empty()
                .then_some("a catalog is named by its id, which is an account unless it is nested")
        })
    }

    /// Principals that have another ARN in the other site.
    fn principals(&self, raw: &[Spanned<RawPair>]) -> Result<Vec<BySite<String>>, DocumentError> {
        self.pairs("principal", raw, |text| {
            Principal(text.to_owned()).kind().is_none().then_some(
                "this is no principal of Lake Formation; write an IAM, SAML, QuickSight, Identity \
                 Center or organization ARN, an account, or IAM_ALLOWED_PRINCIPALS",
            )
        })
    }

    fn ignored_principals(
        &self,
        raw: &[Spanned<String>],
    ) -> Result<PrincipalPatterns, DocumentError> {
        for pattern in raw {
            let text = pattern.get_ref();
            let stars = text.matches('*').count();
            if text.is_empty() || text == "*" || stars > 1 || (stars == 1 && !text.ends_with('*')) {
                let problem = "name a principal, or a prefix of principals with a star at its end";
                return Err(self.error(pattern.span().start, "ignored-principals", problem));
            }
        }
        Ok(PrincipalPatterns::new(
            raw.iter().map(|text| text.get_ref().clone()),
        ))
    }

    fn query(&self, raw: &RawQuery) -> Result<QueryPolicy, DocumentError> {
        for pattern in &raw.exclude_workgroups {
            let text = pattern.get_ref();
            let stars = text.matches('*').count();
            if text.is_empty() || stars > 1 || (stars == 1 && !text.ends_with('*')) {
                let problem = "name a workgroup, or a prefix of workgroups with a star at its end";
                let key = "query.exclude-workgroups";
                return Err(self.error(pattern.span().start, key, problem));
            }
        }
        let kms_keys = self.pairs("query.kms-key", &raw.kms_key, |key| {
            key.is_empty()
                .then_some("name a KMS key as the workgroups do: by ARN, id or alias")
        })?;
        let excluded = raw.exclude_workgroups.iter();
        Ok(QueryPolicy {
            excluded_workgroups: excluded.map(|text| text.get_ref().clone()).collect(),
            result_locations: self.result_locations(&raw.result_location)?,
            kms_keys,
            networks: self.pairs("query.network", &raw.network, |id| {
                id.is_empty()
                    .then_some("name a subnet, a security group or an availability zone")
            })?,
            tags: raw.tags,
            glue_tools: raw.glue_tools,
            warehouses: warehouses::parse(&self.0, &raw.warehouse)?,
        })
    }

    fn result_locations(&self, raw: &[Spanned<RawPair>]) -> Result<LocationMap, DocumentError> {
        let key = "query.result-location";
        let problem_of = |text: &str| {
            Location::parse(text)
                .is_err()
                .then_some("write a location in S3, as in s3://results-us-east-1/athena/")
        };
        let pairs = self.pairs(key, raw, problem_of)?;
        let mut parsed = Vec::new();
        for (pair, entry) in pairs.iter().zip(raw) {
            let location = |text: &str| {
                Location::parse(text)
                    .map_err(|error| self.error(entry.span().start, key, error.to_string()))
            };
            parsed.push(LocationPair {
                sites: BySite {
                    a: location(&pair.a)?,
                    b: location(&pair.b)?,
                },
                // Nothing copies results of queries. With `Other` no check expects that S3 replication does.
                copied_by: CopiedBy::Other,
            });
        }
        LocationMap::new(parsed).map_err(|(at, _)| {
            let start = raw.get(at).map_or(0, |pair| pair.span().start);
            let problem =
                "one of these locations lies in that of an earlier pair, or the other way round";
            self.error(start, key, problem)
        })
    }

    fn deletion_limit(&self, raw: &RawDeletionLimit) -> Result<DeletionLimit, DocumentError> {
        let fraction = match &raw.fraction {
            Some(fraction) if !(0.0..=1.0).contains(fraction.get_ref()) => {
                let problem = "a fraction lies between 0 and 1";
                let key = "deletion-limit.fraction";
                return Err(self.error(fraction.span().start, key, problem));
            }
            Some(fraction) => *fraction.get_ref(),
            None => DEFAULT_DELETION_FRACTION,
        };
        Ok(DeletionLimit {
            fraction,
            minimum: raw.minimum.unwrap_or(DEFAULT_DELETION_MINIMUM),
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::name::{Name, TableId};
    use crate::policy::Policy;
    use crate::topology::{Epoch, SiteId};

    const BASE: &str = r#"[[region]]
id = "a"
region = "us-east-1"
account = "111122223333"
[[region]]
id = "b"
region = "ap-south-1"
account = "111122223333"
"#;

    fn problem(text: &str) -> String {
        Policy::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn the_shortest_policy_has_the_safe_defaults() {
        let policy = Policy::parse(BASE).unwrap();
        let switched = Epoch::new(1, SiteId::B);
        assert_eq!(policy.primary(Epoch::INITIAL).region, "us-east-1");
        assert_eq!(policy.primary(switched).region, "ap-south-1");
        assert_eq!(policy.standby(switched).region, "us-east-1");
        assert!(policy.covers_database(&Name::new("anything").unwrap()));
        assert_eq!(policy.deletion_limit.minimum, 10);
    }

    #[test]
    fn errors_name_the_line_and_the_key() {
        let third = "[[region]]\nid = \"c\"\nregion = \"eu-west-1\"\naccount = \"111122223333\"\n";
        let cases = [
            (
                BASE.replace("us-east-1", "Virginia"),
                "policy line 3, key `region.region`: this is no AWS Region",
            ),
            (
                BASE.replacen("111122223333", "1111", 1),
                "policy line 4, key `region.account`: an account is twelve digits",
            ),
            (
                BASE.replace("ap-south-1", "us-east-1"),
                "policy line 7, key `region.region`: both sites are the same Region",
            ),
            (
                BASE.replace("ap-south-1", "cn-north-1"),
                "policy line 7, key `region.region`: the Regions are of different AWS partitions",
            ),
            (
                format!("{BASE}{third}"),
                "policy line 9, key `region`: this version replicates between two Regions, and 3",
            ),
            (
                BASE.replace("\"b\"", "\"second\""),
                "policy line 1, key `region`: name two Regions",
            ),
            (
                format!("{BASE}role = \"arn:aws:iam::111122223333:role/r\"\n"),
                "policy line 9, key `region.role`",
            ),
            (
                format!("version = 2\n{BASE}"),
                "policy line 1, key `version`: this Twinlake reads version 1 of the policy; \
                 upgrade Twinlake",
            ),
            (
                format!("iceberg = \"copy\"\n{BASE}"),
                "policy line 1, key `iceberg`",
            ),
            (
                format!("icebreg = \"pointer\"\n{BASE}"),
                "policy line 1, key `icebreg`",
            ),
            (
                format!("include = [\"a\", \"[\"]\n{BASE}"),
                "policy line 1, key `include`",
            ),
            (
                format!("{BASE}[deletion-limit]\nfraction = 2.0\n"),
                "policy line 10, key `deletion-limit.fraction`",
            ),
            (
                format!("{BASE}[[location]]\na = \"hdfs://x\"\nb = \"s3://y\"\n"),
                "policy line 9, key `location.a`",
            ),
            (
                format!("{BASE}[[location]]\na = \"s3://x\"\n"),
                "policy line 9, key `location`: a pair names both Regions: `b` is missing",
            ),
            (
                format!("{BASE}[[location]]\na = \"s3://x\"\nz = \"s3://y\"\n"),
                "policy line 9, key `location.z`: no [[region]] table has this id",
            ),
            (format!("{BASE}[broken\n"), "policy line 9"),
        ];
        for (text, start) in cases {
            let problem = problem(&text);
            assert!(problem.starts_with(start), "{problem}\nexpected {start}");
        }
    }

    #[test]
    fn a_second_pair_for_a_catalog_is_refused() {
        let pair = "[[catalog]]\na = \"1\"\nb = \"2\"\n";
        let other = "[[catalog]]\na = \"3\"\nb = \"2\"\n";
        let problem = problem(&format!("{BASE}{pair}{other}"));
        assert!(
            problem.starts_with("policy line 12, key `catalog`"),
            "{problem}"
        );
        let policy = Policy::parse(&format!("{BASE}{pair}")).unwrap();
        assert_eq!(policy.catalog("1", SiteId::A), Some("2"));
        assert_eq!(policy.catalog("2", SiteId::B), Some("1"));
        assert_eq!(policy.catalog("2", SiteId::A), None);
    }

    #[test]
    fn a_second_pair_for_a_location_is_refused() {
        let pair = "[[location]]\na = \"s3://a/\"\nb = \"s3://x\"\ncopied-by = \"other\"\n";
        let other = "[[location]]\na = \"s3://b\"\nb = \"s3://x/\"\n";
        let problem = problem(&format!("{BASE}{pair}{other}"));
        assert!(
            problem.starts_with("policy line 13, key `location`"),
            "{problem}"
        );
    }

    #[test]
    fn the_digest_depends_on_meaning_and_not_on_layout() {
        let digest = |text: &str| Policy::parse(text).unwrap().digest().to_owned();
        assert_eq!(digest(BASE), digest(&format!("# a remark\n\n{BASE}")));
        assert_eq!(digest(BASE), digest(&format!("version = 1\n{BASE}")));
        assert_ne!(
            digest(BASE),
            digest(&format!("deletions = \"retain\"\n{BASE}"))
        );
    }

    #[test]
    fn exclusion_beats_inclusion_and_a_dot_means_tables() {
        let lists = "include = [\"sales\", \"hr.public_*\"]\nexclude = [\"*.tmp_*\"]\n";
        let policy = Policy::parse(&format!("{lists}{BASE}")).unwrap();
        let table = |database: &str, table: &str| {
            TableId::new(Name::new(database).unwrap(), Name::new(table).unwrap())
        };
        assert!(policy.covers_table(&table("Sales", "Orders")));
        assert!(!policy.covers_table(&table("sales", "tmp_1")));
        assert!(policy.covers_table(&table("hr", "public_x")));
        assert!(!policy.covers_table(&table("hr", "pay")));
        assert!(policy.covers_database(&Name::new("hr").unwrap()));
        assert!(!policy.covers_database(&Name::new("dev").unwrap()));
    }
}
