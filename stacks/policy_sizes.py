"""The sizes of the IAM policies of template.yaml for the parameters of a deployment.

IAM refuses the inline policies of a role above 10,240 characters and a managed policy above 6,144, while
CloudFormation only limits each parameter. A list of ARNs stands several times in one policy.
"""

import json
import re

# IAM's limits are 10,240 and 6,144 characters without white space. The rest is for names that CloudFormation chooses.
MAX_INLINE_CHARACTERS = 10_000
MAX_MANAGED_CHARACTERS = 6_000
# CloudFormation's suffix of a physical name.
SUFFIX = "-ABCDEFGHIJKLM"


class Renderer:
    """Evaluates the intrinsic functions that policies use."""

    def __init__(self, template, values, pseudo, stack):
        """`values` has the text of every parameter, `pseudo` that of `AWS::Region` and the like."""
        self.template = template
        self.values = dict(pseudo)
        for name, parameter in template["Parameters"].items():
            is_list = parameter["Type"] == "CommaDelimitedList"
            self.values[name] = values[name].split(",") if is_list else values[name]
        self.stack = stack
        self.used = set()

    def resource(self, name, attribute=None):
        """The name or ARN of a resource, as long as it may become."""
        service = self.template["Resources"][name]["Type"].split("::")[1].lower()
        physical = f"{self.stack}-{name}{SUFFIX}"
        if attribute is None and service != "sns":
            return physical
        path = "log-group:" if service == "logs" else "role/twinlake/" if service == "iam" else ""
        return f"arn:aws:{service}:{self.values['AWS::Region']}:{self.values['AWS::AccountId']}:{path}{physical}"

    def value(self, name):
        if name in self.values:
            self.used.add(name)
            return self.values[name]
        resource, _, attribute = name.partition(".")
        return self.resource(resource, attribute or None)

    def condition(self, name):
        return self.render(self.template["Conditions"][name])

    def sub(self, value):
        text, variables = value if isinstance(value, list) else (value, {})
        variables = {name: self.render(node) for name, node in variables.items()}
        return re.sub(r"\$\{([A-Za-z:.]+)\}",
                      lambda found: str(variables.get(found[1]) or self.value(found[1])), text)

    def render(self, node):
        """Returns a part of the template with its final values; None stands for `AWS::NoValue`."""
        if isinstance(node, list):
            found = [self.render(item) for item in node]
            return [item for item in found if item is not None]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            (function, value), = node.items()
            match function:
                case "Ref":
                    return None if value == "AWS::NoValue" else self.value(value)
                case "Fn::GetAtt":
                    return self.resource(*value)
                case "Fn::Sub":
                    return self.sub(value)
                case "Fn::Join":
                    return value[0].join(self.render(value[1]))
                case "Fn::Split":
                    return self.render(value[1]).split(value[0])
                case "Fn::If":
                    return self.render(value[1] if self.condition(value[0]) else value[2])
                case "Fn::Equals":
                    return self.render(value[0]) == self.render(value[1])
                case "Fn::Not":
                    return not self.render(value[0])
        found = {name: self.render(item) for name, item in node.items()}
        return {name: item for name, item in found.items() if item is not None}

    def size(self, documents):
        """Returns the characters of policies together, and the list parameters that they name."""
        self.used = set()
        size = sum(len(re.sub(r"\s", "", json.dumps(self.render(document)))) for document in documents)
        lists = {name for name in self.used if isinstance(self.values[name], list) and self.values[name] != [""]}
        return size, sorted(lists)


def oversized(template, values, pseudo, stack):
    """Returns name, characters, limit and list parameters of each policy, or policies of a role, over its limit."""
    renderer = Renderer(template, values, pseudo, stack)
    found = []
    for name, resource in template["Resources"].items():
        properties = resource["Properties"]
        match resource["Type"]:
            case "AWS::IAM::Role":
                documents = [policy["PolicyDocument"] for policy in properties.get("Policies", [])]
                limit = MAX_INLINE_CHARACTERS
            case "AWS::IAM::ManagedPolicy":
                documents, limit = [properties["PolicyDocument"]], MAX_MANAGED_CHARACTERS
            case _:
                continue
        size, lists = renderer.size(documents)
        if size > limit:
            found.append((name, size, limit, lists))
    return found
