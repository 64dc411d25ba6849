#!/usr/bin/python3
"""Prints what a TCMU daemon shows on the system bus, one fact in a line, so that two daemons can be compared.

Names of subtypes become SUBTYPE, help texts TEXT. Of interfaces of the bus itself only the names count.
"""
import re
import sys
import xml.etree.ElementTree as ET

import dbus

NAME, ROOT = "org.kernel.TCMUService1", "/org/kernel/TCMUService1"
BUS_OWN = {"org.freedesktop.DBus." + name for name in ("Properties", "Introspectable", "Peer")}
bus = dbus.SystemBus()


def introspect(path):
    proxy = bus.get_object(NAME, path, introspect=False)
    return ET.fromstring(proxy.Introspect(dbus_interface="org.freedesktop.DBus.Introspectable"))


def interface_facts(path, interface):
    name = interface.get("name")
    yield f"{path} {name}"
    for member in interface:
        if member.tag not in ("method", "signal", "property"):
            continue
        fact = f"{path} {name} {member.tag} {member.get('name')}"
        if name not in BUS_OWN:
            arguments = [
                f"{a.get('direction', 'out' if member.tag == 'signal' else 'in')} {a.get('type')} {a.get('name')}"
                for a in member.iter("arg")
            ]
            fact += f"({', '.join(arguments)})"
            if member.tag == "property":
                fact += f" {member.get('type')} {member.get('access')}"
        yield fact


def main():
    facts = set()
    manager = dbus.Interface(bus.get_object(NAME, ROOT, introspect=False), "org.freedesktop.DBus.ObjectManager")
    objects = manager.GetManagedObjects()
    subtypes = {str(path).rsplit("/", 1)[1] for path in objects}
    for path, interfaces in objects.items():
        for interface, properties in interfaces.items():
            for key, value in properties.items():
                kind = type(value).__name__
                if not value:
                    sys.exit(f"{path} has an empty {key}")
                facts.add(f"managed {ROOT}/SUBTYPE {interface} {key} {kind} TEXT")
    if any(not re.fullmatch(re.escape(ROOT) + r"/\w+", str(path)) for path in objects):
        sys.exit(f"objects elsewhere: {sorted(objects)}")

    paths = ["/", "/org", "/org/kernel", ROOT, ROOT + "/HandlerManager1"] + [str(path) for path in objects]
    for path in paths:
        shown = re.sub(r"(?<=TCMUService1/)(?!HandlerManager1)\w+", "SUBTYPE", path)
        node = introspect(path)
        for child in node.findall("node"):
            name = child.get("name")
            facts.add(f"{shown} node {'SUBTYPE' if name in subtypes else name}")
        for interface in node.findall("interface"):
            # Above the root nothing is served: whether the bus library says so by interfaces is its own affair.
            if path.startswith(ROOT):
                facts.update(interface_facts(shown, interface))
    print("\n".join(sorted(facts)))


main()
