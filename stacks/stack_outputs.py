"""Reads CloudFormation stacks, for the programs that deploy them."""

from botocore.exceptions import ClientError


def describe_stack(cloudformation, name):
    """Returns the description of a stack, or None if it does not exist. Raises ClientError."""
    try:
        return cloudformation.describe_stacks(StackName=name)["Stacks"][0]
    except ClientError as error:
        # CloudFormation has no code of its own for a missing stack.
        if "does not exist" in str(error):
            return None
        raise


def outputs_of(description):
    """Returns the outputs of a described stack by name; none if there is no stack."""
    outputs = (description or {}).get("Outputs", [])
    return {output["OutputKey"]: output["OutputValue"] for output in outputs}
