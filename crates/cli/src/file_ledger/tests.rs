use super::conversion::{KEPT_SUFFIX, beside, write_store};
use super::*;
use redb::backends::InMemoryBackend;
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use twinlake_core::ledger::{LfTagLease, VerifiedRun};
use twinlake_core::{LedgerRow, LfSubject, Name, Subject, SubjectState, TableId, Timestamp};
use twinlake_engine::ports::{DocumentStore, StatCounters};
use twinlake_engine::{Ledger, StatsStore};

/// A directory that is removed at the end of a test.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let name = format!("twinlake-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("ledger")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn table(database: &str, table: &str) -> TableId {
    TableId::new(name(database), name(table))
}

fn row(subject: Subject) -> LedgerRow {
    LedgerRow::new(subject, SubjectState::InSync, Timestamp::from_millis(5))
}

/// Makes the same calls to a ledger, and returns what they answer.
#[expect(
    clippy::too_many_lines,
    reason = "one list of calls, each of which rests on those before it"
)]
async fn exercise<L: Ledger + StatsStore + DocumentStore>(ledger: &L) -> Vec<String> {
    let mut answers = Vec::new();
    let mut note = |answer: &dyn std::fmt::Debug| answers.push(format!("{answer:?}"));
    let in_a_x = table("a", "x");
    let in_a = Subject::Table(in_a_x.clone());
    let subjects = [
        Subject::Catalog,
        Subject::Database(name("a")),
        Subject::Database(name("a.b")),
        in_a.clone(),
        Subject::Table(table("a", "y")),
        Subject::Table(table("a.b", "x")),
        Subject::LakeFormation(LfSubject::LfTags),
    ];
    let rows: Vec<LedgerRow> = subjects.iter().cloned().map(row).collect();
    note(&ledger.put_rows(&rows).await);
    // Without the stored version.
    note(&ledger.put_rows(&rows[3..4]).await);
    let keys = |text: &str| BTreeSet::from([text.to_owned()]);
    let none = BTreeSet::new();
    for lf_subject in [LfSubject::LfTags, LfSubject::Settings] {
        note(&ledger.put_managed_keys(lf_subject, &keys("k"), None).await);
        note(
            &ledger
                .put_managed_keys(lf_subject, &keys("l"), Some(0))
                .await,
        );
        // Another writer, which rests on what it read before.
        note(&ledger.put_managed_keys(lf_subject, &none, Some(0)).await);
        note(&ledger.put_managed_keys(lf_subject, &none, None).await);
    }
    let all = ledger
        .rows(&subjects.iter().cloned().collect())
        .await
        .unwrap();
    let mut changed = all[&in_a].clone();
    changed.state = SubjectState::OutOfSync;
    changed.source_location = Some("s3://lake/a/x/".to_owned());
    note(&ledger.put_rows(&[changed.clone()]).await);
    note(
        &ledger
            .delete_rows(&[changed, all[&subjects[4]].clone()])
            .await,
    );
    let tags = LedgerRow {
        managed_keys: BTreeSet::new(),
        ..all[&subjects[6]].clone()
    };
    note(&ledger.put_rows(&[tags]).await);
    note(&ledger.rows(&subjects.iter().cloned().collect()).await);
    note(&ledger.database_rows().await);
    for database in ["a", "a.b", "b"] {
        note(&ledger.rows_in_database(&name(database)).await);
    }
    note(&ledger.rows_not_in_sync().await);
    note(&ledger.state_counts().await);
    note(&ledger.tables_at_location("lake", "a/x/").await);
    note(&ledger.tables_at_location("lake", "a/").await);
    for rests_on_stored in [false, false, true] {
        for (family, text) in [("rows", "{}"), ("rows.", "[]")] {
            let stored = ledger.document(family, "1").await.unwrap();
            let expected = stored.map(|stored| stored.1).filter(|_| rests_on_stored);
            note(&ledger.put_document(family, "1", Some(text), expected).await);
        }
        let stored = ledger.relocation_memory(&in_a_x).await.unwrap();
        let expected = stored.map(|stored| stored.1).filter(|_| rests_on_stored);
        let memory = ledger.put_relocation_memory(&in_a_x, "m", expected);
        note(&memory.await);
    }
    note(&ledger.put_document("rows", "2", Some("2"), None).await);
    let stored = ledger.document("rows", "2").await.unwrap();
    let version = stored.map(|stored| stored.1);
    note(&ledger.put_document("rows", "2", None, version).await);
    // Made again, it has another version.
    note(&ledger.put_document("rows", "2", Some("2"), None).await);
    note(&ledger.put_document("rows", "2", None, version).await);
    note(&ledger.documents("rows").await);
    note(&ledger.document("rows.", "1").await);
    note(&ledger.relocation_memory(&table("a", "x")).await);
    note(&ledger.relocation_memory(&table("a", "y")).await);
    note(&ledger.put_policy("p").await);
    let run = VerifiedRun {
        started_at: Timestamp::from_millis(7),
        policy_digest: "d".to_owned(),
        epoch: 0,
    };
    note(
        &ledger
            .put_verified_run(&run, Timestamp::from_millis(8))
            .await,
    );
    let counters = StatCounters::from([("calls".to_owned(), 3)]);
    note(
        &ledger
            .add_counters(Timestamp::from_millis(0), &counters)
            .await,
    );
    note(
        &ledger
            .add_counters(Timestamp::from_millis(0), &counters)
            .await,
    );
    let lease = LfTagLease::default();
    for expected in [None, None, Some(0), Some(0)] {
        note(&ledger.put_lf_tag_lease(&lease, expected).await);
    }
    let pending = twinlake_core::ledger::PendingObjects::default();
    let mut superseded = None;
    for (pending, rests_on_stored) in [
        (Some(&pending), false),
        (Some(&pending), false),
        (Some(&pending), true),
        (None, false),
    ] {
        let stored = ledger.pending_objects(&in_a_x).await.unwrap();
        let version = stored.map(|stored| stored.1);
        let expected = match pending {
            Some(_) => version.filter(|_| rests_on_stored),
            None => superseded,
        };
        superseded = version;
        let put = ledger.put_pending_objects(&in_a_x, pending, expected);
        note(&put.await);
    }
    note(&read_all(ledger).await);
    answers
}

/// Texts without the numbers of versions, which begin at random.
fn without_versions(texts: &[String]) -> Vec<String> {
    let is_version = |number: &str| number.len() > 9;
    texts
        .iter()
        .map(|text| {
            let parts = text.split_inclusive(|c: char| !c.is_ascii_digit());
            parts
                .map(
                    |part| match part.trim_end_matches(|c: char| !c.is_ascii_digit()) {
                        number if is_version(number) => part.replace(number, "N"),
                        _ => part.to_owned(),
                    },
                )
                .collect()
        })
        .collect()
}

async fn read_all<L: Ledger + StatsStore + DocumentStore>(ledger: &L) -> Vec<String> {
    vec![
        format!("{:?}", ledger.rows_not_in_sync().await),
        format!("{:?}", ledger.rows_in_database(&name("a")).await),
        format!("{:?}", ledger.documents("rows").await),
        format!("{:?}", ledger.all_pending_objects().await),
        format!("{:?}", ledger.relocation_memory(&table("a", "x")).await),
        format!("{:?}", ledger.policy().await),
        format!("{:?}", ledger.verified_run().await),
        format!(
            "{:?}",
            ledger.counters_since(Timestamp::from_millis(0)).await
        ),
        format!("{:?}", ledger.lf_tag_lease().await),
        format!("{:?}", ledger.epoch().await),
    ]
}

#[tokio::test]
async fn it_answers_as_the_ledger_in_memory_and_keeps_everything() {
    let directory = Directory::new("file-ledger");
    let path = directory.file();
    let in_memory = InMemoryLedger::default();
    let expected = exercise(&in_memory).await;
    let in_file = FileLedger::open(&path).unwrap();
    let answers = exercise(&in_file).await;
    assert_eq!(without_versions(&answers), without_versions(&expected));
    drop(in_file);
    let again = FileLedger::open(&path).unwrap();
    assert_eq!(
        without_versions(&read_all(&again).await),
        without_versions(&read_all(&in_memory).await)
    );
}

#[tokio::test]
async fn what_a_call_wrote_is_in_the_file_of_a_killed_command() {
    let directory = Directory::new("killed");
    let path = directory.file();
    let ledger = FileLedger::open(&path).unwrap();
    let written = row(Subject::Database(name("a")));
    ledger.put_rows(&[written]).await.unwrap();
    ledger.put_policy("kept").await.unwrap();
    // A transaction that is not complete is not in it.
    let transaction = ledger.writable().unwrap().begin_write().unwrap();
    let mut contents = transaction.open_table(METADATA).unwrap();
    contents.insert(SINGLETONS_KEY, "{}").unwrap();
    let killed = beside(&path, ".killed");
    std::fs::copy(&path, &killed).unwrap();
    let reopened = FileLedger::open(&killed).unwrap();
    assert_eq!(reopened.database_rows().await.unwrap().len(), 1);
    assert_eq!(reopened.policy().await.unwrap().as_deref(), Some("kept"));
}

#[tokio::test]
async fn one_command_at_a_time_has_it_open() {
    let directory = Directory::new("in-use");
    let path = directory.file();
    let first = FileLedger::open(&path).unwrap();
    let late = FileLedger::open(&path).unwrap();
    assert!(!path.exists(), "a command that only reads leaves no file");
    assert!(late.database_rows().await.unwrap().is_empty());
    first.put_policy("p").await.unwrap();
    let refused = FileLedger::open(&path).unwrap_err().to_string();
    assert!(
        refused.contains("another command uses this ledger"),
        "{refused}"
    );
    // It began when there was no file: it must not write over what the first one wrote.
    assert!(late.put_policy("q").await.is_err());
    drop(first);
    let next = FileLedger::open(&path).unwrap();
    assert_eq!(next.policy().await.unwrap().as_deref(), Some("p"));
}

#[tokio::test]
async fn a_file_of_the_earlier_format_is_converted_and_kept() {
    let directory = Directory::new("converted");
    let path = directory.file();
    let in_memory = InMemoryLedger::default();
    exercise(&in_memory).await;
    let json = serde_json::to_string_pretty(&in_memory.contents()).unwrap();
    std::fs::write(&path, &json).unwrap();
    std::fs::write(beside(&path, ".new"), "of a conversion that was killed").unwrap();
    let converted = FileLedger::open(&path).unwrap();
    assert_eq!(read_all(&converted).await, read_all(&in_memory).await);
    let kept = std::fs::read_to_string(beside(&path, KEPT_SUFFIX)).unwrap();
    assert_eq!(kept, json);
}

#[test]
fn files_that_are_no_ledger_or_of_a_newer_version_are_refused_and_left_as_they_are() {
    let directory = Directory::new("refused");
    let path = directory.file();
    let refuse = |content: &[u8], words: &[&str]| {
        std::fs::write(&path, content).unwrap();
        let refused = FileLedger::open(&path).unwrap_err().to_string();
        assert!(words.iter().all(|word| refused.contains(word)), "{refused}");
        assert_eq!(std::fs::read(&path).unwrap(), content);
    };
    let newer = ["format 99", "deploy the newer version"];
    refuse(br#"{"format": 99, "rows": []}"#, &newer);
    refuse(br#"{"rows": 1}"#, &["ledger"]);
    refuse(b"version = 1\n", &["it is not a ledger of Twinlake"]);
    refuse(b"", &["it is not a ledger of Twinlake"]);
    std::fs::remove_file(&path).unwrap();
    let database = builder().create(&path).unwrap();
    initialize(&database, &LedgerFile::default()).unwrap();
    let transaction = database.begin_write().unwrap();
    let mut contents = transaction.open_table(METADATA).unwrap();
    contents.insert(FORMAT_KEY, "99").unwrap();
    contents
        .insert(SINGLETONS_KEY, "of another layout")
        .unwrap();
    drop(contents);
    transaction.commit().unwrap();
    drop(database);
    let refused = FileLedger::open(&path).unwrap_err().to_string();
    assert!(newer.iter().all(|word| refused.contains(word)), "{refused}");
}

#[tokio::test]
async fn a_read_of_one_database_does_not_read_the_others() {
    const DATABASES: usize = 1000;
    const TABLES: usize = 110;
    let directory = Directory::new("large");
    let path = directory.file();
    let mut contents = LedgerFile::default();
    for d in 0..DATABASES {
        let database = format!("db{d}");
        let subjects = (0..TABLES).map(|t| Subject::Table(table(&database, &format!("t{t}"))));
        for subject in subjects.chain([Subject::Database(name(&database))]) {
            contents.rows.insert(subject.clone(), row(subject));
        }
    }
    write_store(&path, contents).unwrap();
    // Rows that are no rows: whoever reads one fails.
    let database = builder().open(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut rows = transaction.open_table(ROWS).unwrap();
        for d in (0..DATABASES).filter(|d| *d != 50) {
            for t in 0..TABLES {
                let subject = Subject::Table(table(&format!("db{d}"), &format!("t{t}")));
                rows.insert(tables::row_key(&subject), "no row").unwrap();
            }
        }
    }
    transaction.commit().unwrap();
    drop(database);
    let ledger = FileLedger::open(&path).unwrap();
    let rows = ledger.rows_in_database(&name("db50")).await.unwrap();
    assert_eq!(rows.len(), TABLES + 1);
    assert_eq!(ledger.database_rows().await.unwrap().len(), DATABASES);
    assert!(ledger.rows_in_database(&name("db51")).await.is_err());
}

/// A store whose writes fail once a test says so, as on a full disk.
#[derive(Debug)]
struct FailingBackend {
    kept: InMemoryBackend,
    fails: Arc<AtomicBool>,
}

impl FailingBackend {
    fn check(&self) -> Result<(), io::Error> {
        match self.fails.load(Ordering::Relaxed) {
            true => Err(io::Error::from(io::ErrorKind::StorageFull)),
            false => Ok(()),
        }
    }
}

impl redb::StorageBackend for FailingBackend {
    fn len(&self) -> Result<u64, io::Error> {
        self.kept.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.kept.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.check()?;
        self.kept.set_len(len)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.check()?;
        self.kept.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.check()?;
        self.kept.write(offset, data)
    }
}

#[tokio::test]
async fn what_cannot_be_stored_is_not_known() {
    let fails = Arc::new(AtomicBool::new(false));
    let backend = FailingBackend {
        kept: InMemoryBackend::new(),
        fails: Arc::clone(&fails),
    };
    let database = builder().create_with_backend(backend).unwrap();
    initialize(&database, &LedgerFile::default()).unwrap();
    let ledger = FileLedger::with(Path::new("x"), database.into(), LedgerFile::default());
    ledger.put_policy("stored").await.unwrap();
    fails.store(true, Ordering::Relaxed);
    let error = ledger.put_policy("not stored").await.unwrap_err();
    assert!(
        error.to_string().contains("the ledger x cannot be used"),
        "{error}"
    );
    let policy = ledger.policy().await.unwrap();
    assert_eq!(policy.as_deref(), Some("stored"));
}
