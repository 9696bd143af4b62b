//! Histories in which the Regions diverge, and in which the order or the failure of steps decides
//! whether the standby gives access that the primary does not.

use super::lakeformation::{LakeFormationAction, LakeFormationActionKind};
use super::{HistoryAction, RandomGrant, access_changes};
use proptest::prelude::*;

/// The actions before the Regions are in sync, then those in the primary, then those in the
/// standby.
pub type DivergingHistories = (Vec<HistoryAction>, Vec<HistoryAction>, Vec<HistoryAction>);

/// Generates histories whose steps must be applied in one order: most of them widen what a grant
/// allows and revoke the grant. In another order the principal has excess access for a moment.
pub fn order_sensitive_histories() -> impl Strategy<Value = DivergingHistories> {
    let grant = |grantee: u8, shape: u8, columns: u8| RandomGrant {
        grantee,
        database: 0,
        table: 0,
        shape,
        columns,
        permission: if grantee == 2 { 3 } else { 0 },
        with_grant_option: false,
    };
    let lakeformation_action = |kind: LakeFormationActionKind, n: u8| {
        HistoryAction::LakeFormation(LakeFormationAction::on_first_table(kind, n))
    };
    let revoke_and = |grant: RandomGrant, before: Vec<HistoryAction>, action: HistoryAction| {
        let before = [before, vec![HistoryAction::Grant(grant.clone())]].concat();
        (
            before,
            vec![HistoryAction::Revoke(grant), action],
            Vec::new(),
        )
    };
    // The LF-Tags are k0=v1 and k0=v2, the filter is f0: see `LakeFormationAction::calls`.
    let (tag_of_table, tag_of_column) = (18, 9);
    let cases = vec![
        revoke_and(
            grant(0, 1, 0),
            Vec::new(),
            HistoryAction::CreateTable(0, 2, 15),
        ),
        revoke_and(
            grant(0, 7, 4),
            vec![
                lakeformation_action(LakeFormationActionKind::AssignLfTag, tag_of_table),
                lakeformation_action(LakeFormationActionKind::AssignLfTag, tag_of_column),
            ],
            lakeformation_action(LakeFormationActionKind::UnassignLfTag, tag_of_column),
        ),
        revoke_and(
            grant(0, 7, 4),
            Vec::new(),
            lakeformation_action(LakeFormationActionKind::AssignLfTag, tag_of_table),
        ),
        (
            vec![HistoryAction::Grant(grant(0, 7, 2))],
            vec![lakeformation_action(
                LakeFormationActionKind::AssignLfTag,
                tag_of_table,
            )],
            Vec::new(),
        ),
        // The filter allows more rows in the standby, and is granted in the primary.
        (
            vec![lakeformation_action(
                LakeFormationActionKind::PutDataCellsFilter,
                16,
            )],
            vec![HistoryAction::Grant(grant(0, 6, 2))],
            vec![lakeformation_action(
                LakeFormationActionKind::PutDataCellsFilter,
                0,
            )],
        ),
        revoke_and(
            grant(0, 6, 2),
            vec![lakeformation_action(
                LakeFormationActionKind::PutDataCellsFilter,
                16,
            )],
            lakeformation_action(LakeFormationActionKind::PutDataCellsFilter, 0),
        ),
        revoke_and(
            grant(2, 4, 0),
            vec![lakeformation_action(LakeFormationActionKind::OptIn, 1)],
            lakeformation_action(LakeFormationActionKind::OptOut, 1),
        ),
        revoke_and(
            grant(0, 3, 12),
            Vec::new(),
            HistoryAction::Grant(grant(0, 3, 14)),
        ),
        revoke_and(
            grant(0, 1, 0),
            vec![HistoryAction::UpdateTable(0, 0, 1)],
            HistoryAction::UpdateTable(0, 0, 15),
        ),
        revoke_and(
            grant(0, 4, 0),
            vec![HistoryAction::UpdateTable(0, 0, 1)],
            HistoryAction::UpdateTable(0, 0, 15),
        ),
    ];
    let case = prop::sample::select(cases);
    (case, access_changes(3), access_changes(3)).prop_map(
        |((before, primary, standby), more_primary, more_standby)| {
            (
                before,
                [primary, more_primary].concat(),
                [standby, more_standby].concat(),
            )
        },
    )
}

/// The first of [`GRANTEES`](super::GRANTEES).
pub const ANALYST: u8 = 0;
/// `IAM_ALLOWED_PRINCIPALS` in [`GRANTEES`](super::GRANTEES).
pub const IAM_GROUP: u8 = 2;
// The shapes of grants, see `RandomGrant::request`.
/// The shape of a grant on a database.
pub const ON_DATABASE: u8 = 0;
/// The shape of a grant on all tables of a database.
pub const ON_ALL_TABLES: u8 = 1;
const ON_COLUMNS: u8 = 2;
/// The shape of a grant on a table.
pub const ON_TABLE: u8 = 4;
/// The shape of a grant by LF-Tags on tables.
pub const BY_LF_TAGS: u8 = 7;
const BY_NAMED_EXPRESSION: u8 = 9;

/// Returns a grant of SELECT, or of ALL to `IAM_ALLOWED_PRINCIPALS`, by the numbers of the principal,
/// the database and the table. `columns` selects the columns or the LF-Tags.
#[must_use]
pub fn grant(grantee: u8, (database, table): (u8, u8), shape: u8, columns: u8) -> RandomGrant {
    RandomGrant {
        grantee,
        database,
        table,
        shape,
        columns,
        permission: if grantee == IAM_GROUP { 3 } else { 0 },
        with_grant_option: false,
    }
}

/// Returns a change of Lake Formation metadata, by the numbers of the database and the table.
#[must_use]
pub fn change(kind: LakeFormationActionKind, (d, t): (u8, u8), variant: u8) -> HistoryAction {
    HistoryAction::LakeFormation(LakeFormationAction::new(kind, d, t, variant))
}

/// Generates a change that decides for whom a database or its tables are open by IAM: an opt-in on
/// the database, a table or all tables, and the grants to `IAM_ALLOWED_PRINCIPALS` on them.
fn any_opt_in_change(database: u8) -> impl Strategy<Value = HistoryAction> {
    use LakeFormationActionKind::{OptIn, OptOut};
    let table = prop::sample::select(vec![0u8, 0, 1, 2]);
    // One principal more often than the other, so that its opt-ins replace each other.
    let variant = prop::sample::select(vec![0u8, 1, 2, 0, 1, 2, 3, 4, 5]);
    let opt_in = (
        prop::sample::select(vec![OptIn, OptOut]),
        table.clone(),
        variant,
    )
        .prop_map(move |(kind, t, n)| change(kind, (database, t), n));
    let shape = prop::sample::select(vec![ON_DATABASE, ON_ALL_TABLES, ON_ALL_TABLES, ON_TABLE]);
    let iam_grant = (any::<bool>(), table.clone(), shape).prop_map(move |(adds, t, shape)| {
        let grant = grant(IAM_GROUP, (database, t), shape, 0);
        match adds {
            true => HistoryAction::Grant(grant),
            false => HistoryAction::Revoke(grant),
        }
    });
    prop_oneof![
        4 => opt_in,
        3 => iam_grant,
        1 => table.clone().prop_map(move |t| HistoryAction::CreateTable(database, t, 15)),
        1 => table.prop_map(move |t| HistoryAction::DeleteTable(database, t)),
    ]
}

/// Generates histories in which opt-ins move between a table, its database and all tables, beside
/// grants to `IAM_ALLOWED_PRINCIPALS`.
fn moved_opt_ins() -> impl Strategy<Value = DivergingHistories> {
    (
        prop::collection::vec(any_opt_in_change(0), 1..8),
        prop::collection::vec(any_opt_in_change(0), 1..6),
        prop::collection::vec(any_opt_in_change(0), 0..3),
    )
}

/// Generates histories in which a database is created while the standby's defaults for new databases
/// and tables are open.
fn databases_beside_open_defaults() -> impl Strategy<Value = DivergingHistories> {
    let created = prop::sample::select(vec![
        HistoryAction::CreateDatabase(2),
        HistoryAction::CreateOpenDatabase(2),
        HistoryAction::CreateOpenDatabase(2),
    ]);
    (
        access_changes(4),
        created,
        prop::collection::vec(any_opt_in_change(2), 0..7),
        prop::collection::vec(any_opt_in_change(0), 0..4),
    )
        .prop_map(|(before, created, in_it, in_another)| {
            let primary = [vec![created], in_it, in_another].concat();
            (before, primary, vec![HistoryAction::OpenRegionDefaults])
        })
}

/// The numbers of an LF-Tag with its value, as `lakeformation::expression` takes them: an
/// expression of that number is satisfied by that LF-Tag alone.
const LF_TAGS: [u8; 4] = [1, 2, 4, 5];

/// Generates the assignment of an LF-Tag to a database, a column or a table, or its removal.
fn any_lf_tag_change() -> impl Strategy<Value = HistoryAction> {
    use LakeFormationActionKind::{AssignLfTag, UnassignLfTag};
    (
        prop::sample::select(vec![AssignLfTag, AssignLfTag, UnassignLfTag]),
        prop::sample::select(LF_TAGS.to_vec()),
        prop::sample::select(vec![0u8, 0, 1, 2]),
        0..2u8,
    )
        .prop_map(|(kind, lf_tag, place, t)| change(kind, (0, t), 4 * lf_tag + place))
}

/// Generates a grant to a principal that is not the IAM group.
fn any_broad_grant() -> impl Strategy<Value = RandomGrant> {
    (
        prop::sample::select(LF_TAGS.to_vec()),
        prop::sample::select(vec![
            BY_LF_TAGS,
            BY_LF_TAGS,
            ON_ALL_TABLES,
            ON_COLUMNS,
            ON_TABLE,
        ]),
        0..2u8,
    )
        .prop_map(|(columns, shape, table)| grant(ANALYST, (0, table), shape, columns))
}

/// Generates histories in which the standby has tables and columns that the primary lacks, below
/// databases with LF-Tags: tables of somebody else, and columns that the primary dropped. Grants by
/// LF-Tags follow.
fn extra_tables_and_columns() -> impl Strategy<Value = DivergingHistories> {
    let lf_tag = prop::sample::select(LF_TAGS.to_vec());
    let foreign = prop::collection::vec(
        (prop::sample::select(vec![0u8, 0, 2]), 0..16u8)
            .prop_map(|(t, n)| HistoryAction::CreateForeignTable(0, t, n)),
        0..3,
    );
    let dropped = prop::collection::vec(
        (0..2u8, prop::sample::select(vec![1u8, 3, 7, 11, 15]))
            .prop_map(|(t, n)| HistoryAction::UpdateTable(0, t, n)),
        0..3,
    );
    let more = prop_oneof![
        3 => any_broad_grant().prop_map(HistoryAction::Grant),
        1 => any_broad_grant().prop_map(HistoryAction::Revoke),
        2 => any_lf_tag_change(),
        1 => (0..16u8).prop_map(|n| HistoryAction::CreateTable(0, 2, n)),
    ];
    (
        (lf_tag, prop::sample::select(vec![0u8, 0, 2])),
        prop::collection::vec(any_broad_grant().prop_map(HistoryAction::Grant), 0..2),
        dropped,
        prop::collection::vec(more, 1..6),
        foreign,
    )
        .prop_map(|((lf_tag, place), before, dropped, more, foreign)| {
            let tag = change(
                LakeFormationActionKind::AssignLfTag,
                (0, 0),
                4 * lf_tag + place,
            );
            (
                [vec![tag], before].concat(),
                [dropped, more].concat(),
                foreign,
            )
        })
}

/// Returns histories of one change that is only safe after another change, of another object, that
/// takes access away. `choice` selects the changes, `d` the database, `who` the principal, and
/// `lf_tag` the LF-Tag.
fn guarded_change(choice: u8, d: u8, who: u8, lf_tag: u8) -> DivergingHistories {
    use LakeFormationActionKind::{AssignLfTag, OptIn, OptOut, PutNamedExpression, UnassignLfTag};
    let by_tags = HistoryAction::Grant(grant(who, (d, 0), BY_LF_TAGS, lf_tag));
    let without_tags = HistoryAction::Revoke(grant(who, (d, 0), BY_LF_TAGS, lf_tag));
    let (on_database, on_column, on_table) = (4 * lf_tag, 4 * lf_tag + 1, 4 * lf_tag + 2);
    let tag = |place: u8| change(AssignLfTag, (d, 0), place);
    let all_tables = |who: u8| HistoryAction::Grant(grant(who, (d, 0), ON_ALL_TABLES, 0));
    let opt_in_table = change(OptIn, (d, 0), 3 * who + 1);
    let iam_on_table = grant(IAM_GROUP, (d, 0), ON_TABLE, 0);
    // Another value of the same LF-Tag.
    let other_value = match lf_tag {
        1 => 5,
        5 => 1,
        2 => 4,
        _ => 2,
    };
    let drop_columns = HistoryAction::UpdateTable(d, 0, 1);
    let add_columns = HistoryAction::UpdateTable(d, 0, 15);
    let (before, primary) = match choice {
        0 => (vec![by_tags], vec![without_tags, tag(on_table)]),
        1 => (vec![by_tags], vec![without_tags, tag(on_database)]),
        2 => (vec![by_tags], vec![without_tags, tag(on_column)]),
        3 => (
            vec![tag(on_database), by_tags],
            vec![without_tags, HistoryAction::CreateTable(d, 2, 15)],
        ),
        4 => (
            vec![tag(on_table), by_tags, drop_columns],
            vec![without_tags, add_columns],
        ),
        5 => (
            vec![tag(on_table), tag(4 * other_value + 1), by_tags],
            vec![
                without_tags,
                change(UnassignLfTag, (d, 0), 4 * other_value + 1),
            ],
        ),
        6 => (
            Vec::new(),
            vec![HistoryAction::DeleteTable(d, 1), all_tables(who)],
        ),
        7 => (
            vec![tag(on_database)],
            vec![HistoryAction::DeleteTable(d, 1), by_tags],
        ),
        8 => (Vec::new(), vec![drop_columns, all_tables(who)]),
        9 => (Vec::new(), vec![opt_in_table, all_tables(IAM_GROUP)]),
        10 => (
            vec![
                change(OptIn, (d, 0), 3 * who + 2),
                HistoryAction::Grant(iam_on_table.clone()),
            ],
            vec![
                HistoryAction::Revoke(iam_on_table),
                change(OptOut, (d, 0), 3 * who + 2),
            ],
        ),
        11 => (
            vec![all_tables(IAM_GROUP)],
            vec![
                HistoryAction::CreateTable(d, 2, 15),
                change(OptIn, (d, 2), 3 * who + 1),
            ],
        ),
        // The opt-in moves between the database, the table and all tables.
        12 | 13 => {
            let (from, to) = match lf_tag {
                1 => (2, 1),
                2 => (0, 1),
                4 => (1, 2),
                _ => (1, 0),
            };
            (
                vec![
                    HistoryAction::Grant(iam_on_table),
                    change(OptIn, (d, 0), 3 * who + from),
                ],
                vec![
                    change(OptIn, (d, 0), 3 * who + to),
                    change(OptOut, (d, 0), 3 * who + from),
                ],
            )
        }
        _ => {
            let by_name = grant(who, (d, 0), BY_NAMED_EXPRESSION, d);
            let put = |lf_tag: u8| change(PutNamedExpression, (d, 0), lf_tag);
            (
                vec![
                    tag(on_database),
                    put(other_value),
                    HistoryAction::Grant(by_name.clone()),
                ],
                vec![HistoryAction::Revoke(by_name), put(lf_tag)],
            )
        }
    };
    (before, primary, Vec::new())
}

/// Generates histories with several changes each of which is only safe after another change, of
/// another object, that takes access away.
pub fn guarded_changes() -> impl Strategy<Value = DivergingHistories> {
    let one = (
        0..15u8,
        prop::sample::select(vec![0u8, 0, 1]),
        0..2u8,
        prop::sample::select(LF_TAGS.to_vec()),
    )
        .prop_map(|(choice, d, who, lf_tag)| guarded_change(choice, d, who, lf_tag));
    let more = (access_changes(3), access_changes(3));
    (prop::collection::vec(one, 1..5), more).prop_map(|(changes, (primary, standby))| {
        let mut all: DivergingHistories = (Vec::new(), Vec::new(), Vec::new());
        for (before, primary, standby) in changes {
            all.0.extend(before);
            all.1.extend(primary);
            all.2.extend(standby);
        }
        all.1.extend(primary);
        all.2.extend(standby);
        all
    })
}

/// Generates histories in which what the standby has beside the primary decides who gets in: opt-ins
/// that move, new databases beside open defaults, tables of somebody else, dropped columns.
pub fn access_hazards() -> impl Strategy<Value = DivergingHistories> {
    prop_oneof![
        4 => moved_opt_ins(),
        2 => databases_beside_open_defaults(),
        3 => extra_tables_and_columns(),
    ]
}
