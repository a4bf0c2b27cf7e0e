# Reads a list of objects, and prints a line for each problem. Arguments: versions of Kubernetes.
import json
import sys

import kubernetes_validate


def unknown(given, read, place):
    """What a model has passed over: it is not in what the model says of itself."""
    if isinstance(given, dict):
        for name, value in given.items():
            if name not in read:
                yield f"{place}.{name} is not known"
            else:
                yield from unknown(value, read[name], f"{place}.{name}")
    elif isinstance(given, list):
        for index, value in enumerate(given):
            yield from unknown(value, read[index], f"{place}[{index}]")


def of_monitor(thing):
    # It takes seconds to load, and most lists have none.
    from cloudcoil.models.prometheus_operator import v1

    read = v1.ServiceMonitor.model_validate(thing).model_dump(mode="json", by_alias=True, exclude_unset=True)
    yield from unknown(thing, read, "ServiceMonitor")


def problems(thing, versions):
    group = thing["apiVersion"]
    if group == "monitoring.coreos.com/v1":
        yield from of_monitor(thing)
    # Its schemas are published as definitions only; what fits with what is looked at elsewhere.
    elif group != "gateway.networking.k8s.io/v1":
        for version in versions:
            try:
                kubernetes_validate.validate(thing, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                yield f"{version}: {error.message}"
            except kubernetes_validate.SchemaNotFoundError:
                yield f"{version} does not know {group}"


for thing in json.load(sys.stdin):
    for problem in problems(thing, sys.argv[1:]):
        print(thing["kind"], thing["metadata"]["name"], str(problem).replace("\n", " "), sep=": ")
