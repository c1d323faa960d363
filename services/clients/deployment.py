"""What the tests ask of files that are YAML.

  deployment.py documents FILE          the documents of a file, as JSON
  deployment.py compose FILE SCHEMA     whether the file is what the schema of compose files wants
"""

import json
import sys

import jsonschema
import yaml


def documents(path):
    with open(path, encoding="utf-8") as file:
        return list(yaml.safe_load_all(file))


def compose(path, schema_path):
    with open(schema_path, encoding="utf-8") as file:
        schema = json.load(file)
    validator = jsonschema.Draft7Validator(schema)
    problems = [
        f"{'/'.join(map(str, error.absolute_path))}: {error.message}"
        for document in documents(path)
        for error in validator.iter_errors(document)
    ]
    if problems:
        sys.exit("\n".join(problems))


match sys.argv[1:]:
    case ["documents", path]:
        json.dump(documents(path), sys.stdout)
    case ["compose", path, schema]:
        compose(path, schema)
    case _:
        sys.exit(__doc__)
