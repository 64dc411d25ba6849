#!/usr/bin/python3
"""A second TCMU daemon, for tests of coexistence: answers the kernel's netlink events of one subtype and no others.

answer-netlink.py SUBTYPE STATUS [COUNT]: prints a line `ready`, then one for each event it sees; leaves after COUNT
answers. Generic netlink as in include/uapi/linux/genetlink.h, TCM-USER as in include/uapi/linux/target_core_user.h.
"""
import socket
import struct
import sys

CONTROLLER, GET_FAMILY = 16, 3
FAMILY_ID, FAMILY_NAME, GROUPS, GROUP_ID = 1, 2, 7, 2
ADDED, RECONFIG = 1, 3
DONE = 3  # an answer's command is the event's plus this
DEVICE, STATUS, DEVICE_ID = 1, 7, 8
ADD_MEMBERSHIP, SOL_NETLINK, REQUEST = 1, 270, 1


def attribute(kind, value):
    padding = b"\0" * (-len(value) % 4)
    return struct.pack("HH", 4 + len(value), kind) + value + padding


def attributes(data):
    found = {}
    while len(data) >= 4:
        length, kind = struct.unpack_from("HH", data)
        found[kind & 0x3FFF] = data[4:length]
        data = data[(length + 3) & ~3:]
    return found


def message(family, command, version, body):
    payload = struct.pack("BBH", command, version, 0) + body
    return struct.pack("IHHII", 16 + len(payload), family, REQUEST, 0, 0) + payload


def main():
    subtype, status = sys.argv[1].encode(), int(sys.argv[2])
    left = int(sys.argv[3]) if len(sys.argv) > 3 else -1
    link = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16)
    link.bind((0, 0))
    link.send(message(CONTROLLER, GET_FAMILY, 1, attribute(FAMILY_NAME, b"TCM-USER\0")))
    answer = attributes(link.recv(65536)[20:])
    family = struct.unpack("H", answer[FAMILY_ID])[0]
    groups = attributes(answer[GROUPS])
    group = struct.unpack("I", attributes(next(iter(groups.values())))[GROUP_ID])[0]
    link.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, group)
    print("ready", flush=True)
    while left != 0:
        data = link.recv(65536)
        kind = struct.unpack_from("H", data, 4)[0]
        if kind != family:
            continue
        command = data[16]
        found = attributes(data[20:])
        name = found.get(DEVICE, b"").rstrip(b"\0")
        if not ADDED <= command <= RECONFIG or name.split(b"/")[3:4] != [subtype]:
            continue
        body = attribute(STATUS, struct.pack("i", status)) + attribute(DEVICE_ID, found[DEVICE_ID])
        link.send(message(family, command + DONE, 2, body))
        print(command, name.decode(errors="replace"), flush=True)
        left -= 1


main()
