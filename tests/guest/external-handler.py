#!/usr/bin/python3
"""A handler outside the daemon, as a program on libtcmu announces it: for tests of RegisterHandler.

external-handler.py SUBTYPE: owns its bus name, registers with the daemon, prints the reply; then answers CheckConfig:
yes to `…/good`, no to `…/bad`, never to `…/never`, with an error to all else. Ends with its standard input.
"""
import sys

import dbus
import dbus.service
from dbus.mainloop.glib import DBusGMainLoop
from gi.repository import GLib

INTERFACE = "org.kernel.TCMUService1"
MANAGER = "org.kernel.TCMUService1.HandlerManager1"
PATH = "/org/kernel/TCMUService1/HandlerManager1"


class Handler(dbus.service.Object):
    @dbus.service.method(INTERFACE, in_signature="s", out_signature="bs", async_callbacks=("answer", "refuse"))
    def CheckConfig(self, configstr, answer, refuse):
        if configstr.endswith("/good"):
            answer(True, "OK")
        elif configstr.endswith("/bad"):
            answer(False, "I do not like it")
        elif not configstr.endswith("/never"):
            refuse(dbus.exceptions.DBusException("it broke", name="org.example.Broken"))


def main():
    subtype = sys.argv[1]
    DBusGMainLoop(set_as_default=True)
    bus = dbus.SystemBus()
    name = dbus.service.BusName(f"{MANAGER}.{subtype}", bus, do_not_queue=True)
    handler = Handler(bus, f"{PATH}/{subtype}")
    loop = GLib.MainLoop()
    manager = dbus.Interface(bus.get_object(INTERFACE, PATH, introspect=False), MANAGER)
    manager.RegisterHandler(
        subtype,
        f"help of {subtype}",
        reply_handler=lambda *reply: print(bool(reply[0]), reply[1], flush=True),
        error_handler=lambda error: print("error", error, flush=True),
    )
    GLib.io_add_watch(0, GLib.IO_HUP, lambda *_: loop.quit())
    loop.run()
    del handler, name


main()
