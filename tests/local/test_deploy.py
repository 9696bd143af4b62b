"""stacks/deploy.py: the deployment file, and the deployment, upgrade, removal and repetition of stacks on
a local AWS that refuses a rule whose target event bus does not exist."""

import copy
import subprocess
from unittest import mock

import pytest

from lake_state import assert_same_lake, create_lake, intact_lake, lake_state
from stack import (
    ACCOUNT, DEPLOYMENT, PRIMARY, ROOT, SITES, STANDBY, Deployment, built_zip_of_any_version, load_template, wait_for)
from test_moto import is_write

import deploy
import policy_sizes

TEMPLATE = load_template()
FORWARD_RULES = 4


# The deployment file


def read(tmp_path, text, policy=None):
    (tmp_path / "deploy.toml").write_text(text)
    if policy is not None:
        (tmp_path / "policy.toml").write_text(policy)
    return deploy.read_deployment(tmp_path / "deploy.toml", TEMPLATE)


def regions(*names, head=""):
    tables = "".join(f'\n[[region]]\nregion = "{name}"\n' for name in names)
    return f'account = "{ACCOUNT}"\n{head}{tables}'


def test_parameters_of_every_type_reach_the_stacks(tmp_path):
    text = regions(PRIMARY, STANDBY, head='''
[parameters]
ResyncSchedule = "rate(12 hours)"
VerifiedAgeLimitSeconds = 50400
QueueDelaySeconds = 5
AllowCrossAccountGrants = true
''') + 'parameters = { RegistrationRoleArns = ["arn:aws:iam::1:role/a", "arn:aws:iam::1:role/b"] }'
    first, second = read(tmp_path, text).stacks
    shared = {"ResyncSchedule": "rate(12 hours)", "VerifiedAgeLimitSeconds": "50400",
              "QueueDelaySeconds": "5", "AllowCrossAccountGrants": "true"}
    assert first.parameters == shared and first.name == "twinlake"
    roles = "arn:aws:iam::1:role/a,arn:aws:iam::1:role/b"
    assert second.parameters == shared | {"RegistrationRoleArns": roles}


@pytest.mark.parametrize("text, problem", [
    (regions(PRIMARY), "two different Regions"),
    (regions(PRIMARY, PRIMARY), "two different Regions"),
    (regions(PRIMARY, "nowhere"), "`nowhere` is not a Region"),
    (regions("cn-north-1", "cn-northwest-1"), "tried neither in China nor in GovCloud"),
    (regions("us-gov-west-1", "us-gov-east-1"), "partition `aws-us-gov`"),
    (regions(PRIMARY, "us-gov-east-1"), "`twinlake plan`, `apply` and `resync`"),
    (regions(PRIMARY, STANDBY, head="acount = 1"), "unknown key `acount`"),
    (regions(PRIMARY, STANDBY, head="[parameters]\nPeerRegion = 'x'"), "leave out `PeerRegion`"),
    (regions(PRIMARY, STANDBY, head="[parameters]\nResync = 'x'"), "no parameter `Resync`"),
    (regions(PRIMARY, STANDBY, head="[parameters]\nResyncSchedule = 1.5"), "must be a text"),
    (regions(PRIMARY, STANDBY) + "parameters = { EventBusName = 'x' }", "the same in both Regions"),
    (regions(PRIMARY, STANDBY).replace(ACCOUNT, "1"), "write the account"),
    (regions(PRIMARY, STANDBY, head="architecture = 'arm'"), "`architecture` is"),
    (regions(PRIMARY, STANDBY, head="[parameters]\nResyncSchedule = 'rate(1 day)'"),
     "VerifiedAgeLimitSeconds must be at least 93600 (two hours more"),
    (regions(PRIMARY, STANDBY, head="[parameters]\nResyncSchedule = 'rate(12 hours)'"),
     "VerifiedAgeLimitSeconds must be at least 50400"),
    (regions(PRIMARY, STANDBY, head="[parameters]\nVerifiedAgeLimitSeconds = 28799"),
     "waits for 90 minutes); it is 28799"),
    (regions(PRIMARY, STANDBY, head="[parameters]\nHeartbeatSchedule = 'rate(2 minutes)'"),
     "needs HeartbeatIntervalSeconds = 120, and it is 60"),
    (regions(PRIMARY, STANDBY, head="[parameters]\nHeartbeatSchedule = 'rate(1 hour)'\nHeartbeatIntervalSeconds = 3600"),
     "at least every 5 minutes"),
    (regions(PRIMARY, STANDBY, head="[parameters]\nVerifiedAgeLimitSeconds = '12 hours'"),
     'VerifiedAgeLimitSeconds = "12 hours" in us-east-1 is no whole number of seconds'),
    (regions(PRIMARY, STANDBY, head="[parameters]\nHeartbeatIntervalSeconds = ''"),
     'HeartbeatIntervalSeconds = "" in us-east-1 is no whole number of seconds'),
    (regions(PRIMARY, STANDBY, head="policy = 'missing.toml'"), "missing.toml: No such file or directory; correct `policy`"),
    ("account =", "deploy.toml: "),
    (f'account = "{ACCOUNT}"\nregion = "{PRIMARY}"', "`region` must be written as [[region]] tables"),
    (f'account = "{ACCOUNT}"\nregion = ["{PRIMARY}"]', "`region` must be written as [[region]] tables"),
    (regions(PRIMARY, STANDBY, head="parameters = 1"), "`parameters` must be a table"),
    (regions(PRIMARY, STANDBY) + "stack = 1", "`stack` must be a text"),
])
def test_a_wrong_file_is_refused_with_what_to_do(tmp_path, text, problem):
    with pytest.raises(deploy.Problem) as found:
        read(tmp_path, text)
    assert problem in str(found.value)


def test_a_missing_deployment_file_is_told_with_where_it_is_named(tmp_path):
    with pytest.raises(deploy.Problem, match="none.toml: .* name it with CONFIG=FILE"):
        deploy.read_deployment(tmp_path / "none.toml", TEMPLATE)


@pytest.mark.parametrize("given, other", [("LakeBucketArns", "LakeObjectArns"), ("LakeObjectArns", "LakeBucketArns")])
def test_the_buckets_and_the_objects_of_the_lake_are_named_together(tmp_path, given, other):
    text = regions(PRIMARY, STANDBY, head=f"policy = 'policy.toml'\n[parameters]\n{given} = ['arn:aws:s3:::a*']")
    with pytest.raises(deploy.Problem, match=f"{given} in us-east-1 stands without the other one"):
        read(tmp_path, text, SITES)
    text = text.replace("['arn", f"['arn:aws:s3:::a*']\n{other} = ['arn")
    assert read(tmp_path, text, SITES).stacks[0].parameters[given] == "arn:aws:s3:::a*"


def test_a_list_in_the_deployment_file_is_not_blamed_on_the_policy(tmp_path):
    arns = [f"arn:aws:s3:::bucket-{number:04}-of-the-lake" for number in range(200)]
    text = regions(PRIMARY, STANDBY, head=f"policy = 'policy.toml'\n[parameters]\nCanaryBucketArns = {arns}")
    with pytest.raises(deploy.Problem) as found:
        read(tmp_path, text, SITES)
    assert "of the location pairs" not in str(found.value)


def test_locations_that_are_no_tables_name_no_bucket(tmp_path):
    text = regions(PRIMARY, STANDBY, head="policy = 'policy.toml'")
    assert read(tmp_path, text, "location = 5\n" + SITES.split("[[location]]")[0]).stacks[0].parameters["CanaryBucketArns"] == ""


def test_a_policy_of_other_regions_or_another_account_is_refused(tmp_path):
    text = regions(STANDBY, PRIMARY, head="policy = 'policy.toml'")
    site = '[[region]]\nregion = "{}"\naccount = "{}"\n'.format
    assert read(tmp_path, text, site(PRIMARY, ACCOUNT) + site(STANDBY, ACCOUNT))
    for other in (site("eu-west-1", ACCOUNT), site(STANDBY, "999988887777"), ""):
        with pytest.raises(deploy.Problem, match="correct one of them"):
            read(tmp_path, text, site(PRIMARY, ACCOUNT) + other)


@pytest.mark.parametrize("parameters", [
    "ResyncSchedule = 'rate(12 hours)'\nVerifiedAgeLimitSeconds = 50400",
    "HeartbeatSchedule = 'rate(5 minutes)'\nHeartbeatIntervalSeconds = 300",
    # What a cron expression means is left to the operator.
    "ResyncSchedule = 'cron(0 3 * * ? *)'",
])
def test_schedules_within_their_limits_are_taken(tmp_path, parameters):
    assert read(tmp_path, regions(PRIMARY, STANDBY, head=f"[parameters]\n{parameters}\n"))


def test_the_next_step_names_an_age_limit_that_the_commands_have_to_know(tmp_path):
    outputs = {PRIMARY: {"Roles": "arn:aws:iam::111122223333:role/x", "AlertTopic": "t", "ReplicationQueue": "q"}}
    changed = read(tmp_path, regions(PRIMARY, STANDBY, head="[parameters]\nVerifiedAgeLimitSeconds = 93600\n"))
    limits = deploy.changed_age_limits(changed, TEMPLATE)
    assert "verified-age-limit-seconds = 93600" in deploy.next_steps("p", outputs, limits)
    default = read(tmp_path, regions(PRIMARY, STANDBY))
    assert deploy.changed_age_limits(default, TEMPLATE) == set()
    assert "verified-age" not in deploy.next_steps("p", outputs)


def test_lists_of_arns_that_iam_would_refuse_are_refused_with_what_to_do(tmp_path):
    def read_with(count, name, head=""):
        buckets = [f"{name}{number:03}-{'x' * 8}" for number in range(count)]
        policy = policy_with(*((f"{bucket}-a/", f"{bucket}-b/") for bucket in buckets))
        text = regions(PRIMARY, STANDBY, head=f"policy = 'policy.toml'\n{head}")
        return read(tmp_path, text, head.partition("#")[2] + policy)

    # Each parameter alone is within CloudFormation's limit.
    assert read_with(20, "lake")
    with pytest.raises(deploy.Problem) as found:
        read_with(45, "lake")
    assert "ReadinessRole" in str(found.value) and "LakeBucketArns, LakeObjectArns" in str(found.value)
    star = "[parameters]\nLakeBucketArns = ['arn:aws:s3:::*']\nLakeObjectArns = ['arn:aws:s3:::*/*']\n"
    with pytest.raises(deploy.Problem) as found:
        read_with(80, "lake", star)
    assert "CanaryRole" in str(found.value) and "CanaryBucketArns" in str(found.value)
    assert "with * for what the names have in common" in str(found.value)
    assert read_with(80, "lake", star + "CanaryBucketArns = ['arn:aws:s3:::*']\n")


def test_the_rendered_policies_are_those_of_the_template(tmp_path):
    """The size is that of what CloudFormation makes of the functions in the template."""
    deployment = read(tmp_path, regions(PRIMARY, STANDBY, head="[parameters]\nCanaryBucketArns = ['arn:aws:s3:::a', "
                                        "'arn:aws:s3:::b']\nCatalogKeyArns = ['arn:aws:kms:x:1:key/k']\n"))
    (first, _), pseudo = deployment.stacks, {
        "AWS::Region": PRIMARY, "AWS::AccountId": ACCOUNT, "AWS::Partition": "aws", "AWS::StackName": "twinlake"}
    values = deploy.values_of(TEMPLATE, deployment, first, True)
    renderer = policy_sizes.Renderer(TEMPLATE, values, pseudo, "twinlake")
    (policy,) = TEMPLATE["Resources"]["CanaryRole"]["Properties"]["Policies"]
    statements = {s.get("Sid"): s for s in renderer.render(policy["PolicyDocument"])["Statement"]}
    assert statements["WriteReadAndDeleteCanaries"]["Resource"] == [
        "arn:aws:s3:::a/*_twinlake_canary/*", "arn:aws:s3:::b/*_twinlake_canary/*"]
    assert statements["ListCanaries"]["Resource"] == ["arn:aws:s3:::a", "arn:aws:s3:::b"]
    assert statements["UseKeysOfBucketsThroughS3"]["Condition"] == {
        "StringEquals": {"kms:ViaService": f"s3.{PRIMARY}.amazonaws.com"}}
    assert statements["ReadPeerEpochAndPolicy"]["Resource"] == (
        f"arn:aws:dynamodb:{STANDBY}:{ACCOUNT}:table/twinlake-ledger")
    # Without buckets a statement is left out.
    (policy,) = TEMPLATE["Resources"]["CatalogEventRole"]["Properties"]["Policies"]
    assert len(renderer.render(policy["PolicyDocument"])["Statement"]) == 2
    keys = renderer.render(TEMPLATE["Resources"]["CatalogKeyPolicy"]["Properties"]["PolicyDocument"])
    assert keys["Statement"][0]["Resource"] == ["arn:aws:kms:x:1:key/k"]
    assert keys["Statement"][0]["Condition"]["StringEquals"]["kms:ViaService"] == [
        f"glue.{STANDBY}.amazonaws.com", f"glue.{PRIMARY}.amazonaws.com"]


def policy_with(*locations):
    """A policy for the Regions of `regions(PRIMARY, STANDBY)` with these location pairs."""
    return SITES.split("[[location]]")[0] + "".join(
        f'[[location]]\na = "s3://{a}"\nb = "s3://{b}"\n' for a, b in locations)


def lake_parameters_of(stack):
    return {name: value for name, value in stack.parameters.items() if name.startswith("Lake")}


def test_the_buckets_of_the_policy_reach_both_stacks_unless_the_file_names_them(tmp_path):
    head = "policy = 'policy.toml'"
    policy = policy_with(("lake-a/raw/", "lake-b/raw/"), ("lake-a/curated/", "lake-b/curated/"))
    for stack in read(tmp_path, regions(PRIMARY, STANDBY, head=head), policy).stacks:
        assert lake_parameters_of(stack) == {
            "LakeBucketArns": "arn:aws:s3:::lake-a,arn:aws:s3:::lake-b",
            "LakeObjectArns": "arn:aws:s3:::lake-a/*,arn:aws:s3:::lake-b/*"}
    named = ("\n[parameters]\nLakeBucketArns = ['arn:aws:s3:::lake-*']\nLakeObjectArns = ['arn:aws:s3:::lake-*/*']\n"
             "CanaryBucketArns = ['arn:aws:s3:::*']\n")
    many = policy_with(*((f"{number:03}-{'x' * 50}/", f"{number:03}-{'y' * 50}/") for number in range(40)))
    file = regions(PRIMARY, STANDBY, head=head + named)
    for stack in read(tmp_path, file, many).stacks:
        assert lake_parameters_of(stack) == {
            "LakeBucketArns": "arn:aws:s3:::lake-*", "LakeObjectArns": "arn:aws:s3:::lake-*/*"}
    with pytest.raises(deploy.Problem, match="80 buckets .* below .parameters."):
        read(tmp_path, regions(PRIMARY, STANDBY, head=head), many)


def test_each_spelling_of_a_location_names_its_bucket(tmp_path):
    head = "policy = 'policy.toml'"
    policy = policy_with(("lake-a/raw/", "lake-b/raw/")).replace("s3://lake-a", "s3a://lake-a").replace(
        "s3://lake-b", "arn:aws:s3:::lake-b")
    for stack in read(tmp_path, regions(PRIMARY, STANDBY, head=head), policy).stacks:
        assert stack.parameters["LakeBucketArns"] == "arn:aws:s3:::lake-a,arn:aws:s3:::lake-b"


def test_the_next_step_names_the_policy_of_the_deployment_file(tmp_path):
    head = "policy = 'my policy.toml'"
    (tmp_path / "my policy.toml").write_text(policy_with(("lake-a/raw/", "lake-b/raw/")))
    deployment = read(tmp_path, regions(PRIMARY, STANDBY, head=head), "")
    outputs = {region: {"Roles": "arn:aws:iam::111122223333:role/x", "AlertTopic": "t", "ReplicationQueue": "q"}
               for region in (PRIMARY, STANDBY)}
    assert f"--policy '{tmp_path}/my policy.toml'" in deploy.next_steps(deployment.policy, outputs)


def test_a_policy_with_a_pair_that_s3_cannot_copy_is_refused(tmp_path):
    text = regions(PRIMARY, STANDBY, head="policy = 'policy.toml'")
    site = '[[region]]\nregion = "{}"\naccount = "{}"\n'.format
    sites = site(PRIMARY, ACCOUNT) + site(STANDBY, ACCOUNT)
    pair = '[[location]]\na = "s3://x/raw/"\nb = "{}"\n'.format
    for same in ("s3://y/raw", "s3a://y/raw", "arn:aws:s3:::y/raw/"):
        assert read(tmp_path, text, sites + pair(same))
    with pytest.raises(deploy.Problem, match="the paths of s3://x/raw/ and s3://y/dr/raw differ"):
        read(tmp_path, text, sites + pair("s3://y/dr/raw"))
    assert read(tmp_path, text, sites + pair("s3://y/dr/raw") + 'copied-by = "other"\n')


def test_the_buckets_of_the_canaries_follow_from_the_policy(tmp_path):
    text = regions(PRIMARY, STANDBY, head="policy = 'policy.toml'")
    policy = "".join(f'[[region]]\nid = "{site}"\nregion = "{region}"\naccount = "{ACCOUNT}"\n'
                     for site, region in (("a", PRIMARY), ("b", STANDBY)))
    pairs = [
        ("s3://lake-a/raw/", "s3://lake-b/raw/", ""),
        ("s3a://lake-a/sales", "arn:aws:s3:::lake-b/sales", ""),
        ("s3://other-a", "s3://other-b", "copied-by = 's3'"),
        ("s3://copied-a/", "s3://copied-b/", "copied-by = 'other'"),
        ("s3://*/", "s3:///", ""),
    ]
    policy += "".join(f"[[location]]\na = '{a}'\nb = '{b}'\n{rest}\n" for a, b, rest in pairs)
    first, second = read(tmp_path, text, policy).stacks
    assert first.parameters["CanaryBucketArns"] == "arn:aws:s3:::lake-a,arn:aws:s3:::other-a"
    assert second.parameters["CanaryBucketArns"] == "arn:aws:s3:::lake-b,arn:aws:s3:::other-b"
    # The file decides.
    text = regions(PRIMARY, STANDBY, head="policy = 'policy.toml'\n[parameters]\nCanaryBucketArns = []")
    assert read(tmp_path, text, policy).stacks[0].parameters["CanaryBucketArns"] == ""
    assert read(tmp_path, regions(PRIMARY, STANDBY)).stacks[0].parameters == {}


def test_the_buckets_of_iceberg_tables_follow_from_a_policy_that_relocates(tmp_path):
    head = "policy = 'policy.toml'"
    policy = "".join(f'[[region]]\nid = "{site}"\nregion = "{region}"\naccount = "{ACCOUNT}"\n'
                     for site, region in (("a", PRIMARY), ("b", STANDBY)))
    policy += "".join(f"[[location]]\na = 's3://{a}/'\nb = 's3://{b}/'\n{rest}\n" for a, b, rest in (
        ("lake-a", "lake-b", ""), ("copied-a", "copied-b", "copied-by = 'other'")))

    def parameters(policy, text=regions(PRIMARY, STANDBY, head=head)):
        return [stack.parameters.get("IcebergBucketArns") for stack in read(tmp_path, text, policy).stacks]

    relocates = 'iceberg = "relocate"\n' + policy
    assert parameters(relocates) == [
        "arn:aws:s3:::copied-a,arn:aws:s3:::lake-a", "arn:aws:s3:::copied-b,arn:aws:s3:::lake-b"]
    # Otherwise the function gets no right on a bucket.
    for other in (policy, 'iceberg = "pointer"\n' + policy, 'iceberg = "withhold"\n' + policy):
        assert parameters(other) == [None, None]
    # The file decides.
    named = regions(PRIMARY, STANDBY, head=head + "\n[parameters]\nIcebergBucketArns = ['arn:aws:s3:::lake-*']")
    assert parameters(relocates, named) == ["arn:aws:s3:::lake-*"] * 2
    many = relocates + "".join(f"[[location]]\na = 's3://{n:03}-{'x' * 50}/'\nb = 's3://b/'\n" for n in range(80))
    both = ("IcebergBucketArns = ['arn:aws:s3:::*']\nLakeBucketArns = ['arn:aws:s3:::*']\n"
            "LakeObjectArns = ['arn:aws:s3:::*/*']\n")
    with pytest.raises(deploy.Problem, match="too many for `CanaryBucketArns`"):
        parameters(many, regions(PRIMARY, STANDBY, head=f"{head}\n[parameters]\n{both}"))
    canaries = both + "CanaryBucketArns = ['arn:aws:s3:::*']\n"
    assert parameters(many, regions(PRIMARY, STANDBY, head=f"{head}\n[parameters]\n{canaries}"))
    canaries = canaries.replace("IcebergBucketArns = ['arn:aws:s3:::*']\n", "")
    with pytest.raises(deploy.Problem, match="too many for `IcebergBucketArns`"):
        parameters(many, regions(PRIMARY, STANDBY, head=f"{head}\n[parameters]\n{canaries}"))


def test_a_missing_file_says_how_to_write_one(tmp_path):
    with pytest.raises(deploy.Problem, match="as the head of stacks/deploy.py shows"):
        deploy.read_deployment(tmp_path / "none.toml", TEMPLATE)


# Deployments on the local AWS


@pytest.fixture
def local():
    """A local AWS without stacks."""
    running = Deployment()
    try:
        running.start()
        yield running
    finally:
        running.__exit__(None, None, None)


@pytest.fixture
def intact(local):
    """A lake that is the same before and after the test."""
    with intact_lake(local):
        yield


def deploy_and_listen(local, template=None):
    """Deploys, and returns what the program said."""
    said = []
    local.deploy(template, said.append)
    return said


def forward_rules(local, region):
    """Returns the rules of the default bus that forward events, with their targets."""
    events = local.client("events", region)
    rules = events.list_rules(NamePrefix="twinlake-")["Rules"]
    targets = {rule["Arn"]: events.list_targets_by_rule(Rule=rule["Name"])["Targets"]
               for rule in rules}
    return {arn: found for arn, found in targets.items() if "event-bus" in str(found)}


def deleted_resources(local, region):
    """Returns the logical ids of the resources that a stack has ever deleted."""
    pages = local.client("cloudformation", region).get_paginator("describe_stack_events")
    events = pages.paginate(StackName=f"twinlake-{region}").search("StackEvents[]")
    return {e["LogicalResourceId"] for e in events if e["ResourceStatus"].startswith("DELETE")}


def put_ledger_item(local):
    for region in (PRIMARY, STANDBY):
        local.client("dynamodb", region).put_item(
            TableName="twinlake-ledger", Item={"pk": {"S": "meta"}, "sk": {"S": region}})


def has_ledger_item(local, region):
    key = {"pk": {"S": "meta"}, "sk": {"S": region}}
    return "Item" in local.client("dynamodb", region).get_item(TableName="twinlake-ledger", Key=key)


def break_in(template, region):
    """Returns a template whose deployment fails in one Region."""
    broken = copy.deepcopy(template)
    peer = STANDBY if region == PRIMARY else PRIMARY
    broken["Conditions"]["IsBroken"] = {"Fn::Equals": [{"Ref": "PeerRegion"}, peer]}
    broken["Resources"]["Broken"] = {
        "Type": "AWS::Events::Rule", "Condition": "IsBroken",
        # Last, when all else is there.
        "DependsOn": ["Monitor", "Ledger", "PeerEventBus"],
        "Properties": {"EventPattern": {"source": ["x"]}, "Targets": [{
            "Id": "bus", "Arn": f"arn:aws:events:eu-west-1:{ACCOUNT}:event-bus/missing"}]},
    }
    return broken


def test_a_first_deployment_takes_three_passes_and_an_upgrade_two(local):
    said = deploy_and_listen(local)
    assert said == [
        f"{STANDBY}: creating the stack twinlake-{STANDBY}, without the rules that forward events",
        f"{PRIMARY}: creating the stack twinlake-{PRIMARY}",
        f"{STANDBY}: updating the stack twinlake-{STANDBY}",
    ]
    rules = {region: forward_rules(local, region) for region in (PRIMARY, STANDBY)}
    assert [len(found) for found in rules.values()] == [FORWARD_RULES, FORWARD_RULES]

    changed = copy.deepcopy(TEMPLATE)
    changed["Resources"]["Digest"]["Properties"]["MemorySize"] = 320
    said = deploy_and_listen(local, changed)
    assert said == [f"{region}: updating the stack twinlake-{region}" for region in (STANDBY, PRIMARY)]
    for region in (PRIMARY, STANDBY):
        assert forward_rules(local, region) == rules[region]
        assert not deleted_resources(local, region)
    size = local.client("lambda", STANDBY).get_function_configuration(
        FunctionName=local.physical_name(STANDBY, "Digest"))["MemorySize"]
    assert size == 320

    said = deploy_and_listen(local, changed)
    assert said[1::2] == [f"{region}: nothing to change" for region in (STANDBY, PRIMARY)]


@pytest.mark.usefixtures("intact")
@pytest.mark.parametrize("broken_region", [PRIMARY, STANDBY])
def test_a_first_deployment_that_breaks_is_repeated(local, broken_region):
    with pytest.raises(deploy.Problem) as found:
        local.deploy(break_in(TEMPLATE, broken_region))
    assert "Broken: " in str(found.value) and "run the same command again" in str(found.value)
    said = deploy_and_listen(local)
    assert f"{broken_region}: deleting the stack twinlake-{broken_region}, whose creation failed" in said
    for region in (PRIMARY, STANDBY):
        assert len(forward_rules(local, region)) == FORWARD_RULES


@pytest.mark.usefixtures("intact")
def test_an_upgrade_that_breaks_keeps_the_ledger_and_the_rules(local):
    local.deploy()
    put_ledger_item(local)
    rules = {region: forward_rules(local, region) for region in (PRIMARY, STANDBY)}
    with pytest.raises(deploy.Problem, match="Broken: "):
        local.deploy(break_in(TEMPLATE, PRIMARY))
    for _ in range(2):
        for region in (PRIMARY, STANDBY):
            assert has_ledger_item(local, region)
            assert forward_rules(local, region) == rules[region]
        local.deploy()


def delete_stacks(local):
    for region in (PRIMARY, STANDBY):
        cloudformation = local.client("cloudformation", region)
        cloudformation.delete_stack(StackName=f"twinlake-{region}")
        waiter = cloudformation.get_waiter("stack_delete_complete")
        waiter.wait(StackName=f"twinlake-{region}", WaiterConfig={"Delay": 0.1})


@pytest.mark.usefixtures("intact")
def test_a_deployment_after_a_removal_takes_over_the_ledger_even_if_it_breaks_first(local):
    local.deploy()
    put_ledger_item(local)
    delete_stacks(local)
    assert has_ledger_item(local, PRIMARY) and has_ledger_item(local, STANDBY)
    with pytest.raises(deploy.Problem, match="Broken: "):
        local.deploy(break_in(TEMPLATE, STANDBY))
    assert has_ledger_item(local, STANDBY), "the rollback of the import deletes nothing"
    local.deploy()
    for region in (PRIMARY, STANDBY):
        assert has_ledger_item(local, region)
        assert local.physical_name(region, "Ledger") == "twinlake-ledger"


def bootstrap(local):
    """Makes the roles of the stacks administrators, and pushes the policy."""
    roles = [role for outputs in local.outputs.values() for role in outputs["Roles"].split(",")]
    options = [option for role in roles for option in ("--twinlake-role", role)]
    done = local.twinlake("bootstrap", "--policy", "policy.toml", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    local.twinlake("policy", "push", "policy.toml")


def test_an_uninstall_and_a_new_deployment_leave_lake_and_ledger_as_they_are(local):
    create_lake(local)
    bare = lake_state(local)
    local.deploy()
    bootstrap(local)
    local.resync()
    replicated = lake_state(local)
    assert len(replicated[STANDBY]["tables"]) == len(replicated[PRIMARY]["tables"])
    assert_same_lake({PRIMARY: bare[PRIMARY]}, replicated)

    done = local.twinlake("uninstall", "--policy", "policy.toml")
    # The tests' own administrator has the path of Twinlake's roles.
    left = [line.split()[1] for line in done.stdout.splitlines() if "--twinlake-role" in line]
    assert left == [f"arn:aws:iam::{ACCOUNT}:role/twinlake/local"], done.stdout + done.stderr
    delete_stacks(local)
    assert_same_lake(replicated, lake_state(local))

    local.deploy()
    bootstrap(local)
    local.drain_calls()
    local.resync()
    calls = {call["call"] for call in local.drain_calls() if "role/twinlake" in call["caller"]}
    assert "GetTables" in calls and not {call for call in calls if is_write(call)}, calls
    assert_same_lake(replicated, lake_state(local))
    # The ledger knows the lake still: what is deleted in the primary is deleted in the standby.
    local.client("glue", PRIMARY).delete_table(DatabaseName="hr", Name="t3")
    wait_for("the table is deleted in the standby", lambda: "t3" not in [
        table["Name"] for table in local.client("glue", STANDBY).get_tables(DatabaseName="hr")["TableList"]])


def previous_template(directory):
    """Returns the last committed template that differs from the present one.

    Without the history, as in a shallow clone, the present one in its form of one pass.
    """
    present = (ROOT / "template.yaml").read_text()
    log = subprocess.run(["git", "log", "-2", "--format=%H", "--", "template.yaml"], cwd=ROOT,
                         capture_output=True, text=True)
    for commit in log.stdout.split():
        shown = subprocess.run(["git", "show", f"{commit}:template.yaml"], cwd=ROOT,
                               capture_output=True, text=True)
        if shown.returncode == 0 and shown.stdout != present:
            (directory / "template.yaml").write_text(shown.stdout)
            return load_template(directory / "template.yaml")
    return template_of_one_pass()


def template_of_one_pass():
    """Returns the template with rules that forward events from the first deployment on."""
    template = load_template()
    del template["Parameters"]["ForwardEvents"], template["Conditions"]["ForwardsEvents"]
    for resource in template["Resources"].values():
        if resource.get("Condition") == "ForwardsEvents":
            del resource["Condition"]
    return template


@pytest.mark.parametrize("previous", [previous_template, lambda _: template_of_one_pass()],
                         ids=["previous", "one-pass"])
def test_an_upgrade_keeps_the_ledger_and_the_rules(previous, tmp_path):
    previous = previous(tmp_path)
    local = Deployment(allows_missing_bus=True)
    try:
        local.start()
        # A function may have been renamed or removed since.
        local.deploy(previous, code=built_zip_of_any_version)
        put_ledger_item(local)
        create_lake(local)
        lake = lake_state(local)
        rules = {region: forward_rules(local, region) for region in (PRIMARY, STANDBY)}
        said = deploy_and_listen(local)
        assert not any("without the rules" in line for line in said), said
        for region in (PRIMARY, STANDBY):
            assert has_ledger_item(local, region)
            assert len(forward_rules(local, region)) == FORWARD_RULES
            assert rules[region].keys() == forward_rules(local, region).keys()
            assert not any("Forward" in name for name in deleted_resources(local, region))
        assert_same_lake(lake, lake_state(local))
    finally:
        local.__exit__(None, None, None)


def test_a_low_concurrency_of_lambda_is_said(tmp_path):
    said = []
    for concurrency in (10, 1000):
        lambda_client = mock.Mock()
        lambda_client.get_account_settings.return_value = {
            "AccountLimit": {"ConcurrentExecutions": concurrency}}
        sts = mock.Mock()
        sts.get_caller_identity.return_value = {"Account": ACCOUNT}
        clients = {"lambda": lambda_client, "sts": sts}
        deployer = deploy.Deployer(TEMPLATE, lambda service, _: clients[service], say=said.append)
        deployer.check_account(read(tmp_path, regions(PRIMARY, STANDBY)))
    assert [line.split(" at the same time")[0] for line in said] == [
        f"{region}: Lambda runs only 10 functions" for region in (PRIMARY, STANDBY)]


def test_credentials_of_another_account_and_code_of_another_architecture_change_nothing(local):
    text = DEPLOYMENT.replace(ACCOUNT, "999988887777").replace("policy =", "# ")
    with pytest.raises(deploy.Problem, match=f"the credentials are of account {ACCOUNT}"):
        local.deploy(text=text)
    assert not local.client("s3", PRIMARY).list_buckets()["Buckets"]
    with pytest.raises(deploy.Problem, match="was built for x86_64, .* run `make build ARCH=arm64`"):
        local.deploy(text=DEPLOYMENT.replace("x86_64", "arm64"))
    for region in (PRIMARY, STANDBY):
        assert not local.client("cloudformation", region).list_stacks()["StackSummaries"]
