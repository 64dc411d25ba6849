#!/usr/bin/busybox sh
# Process 1 of the guest after image-init: mounts, modules, configfs, D-Bus; then runs /host/command, leaves its exit
# status in /host/status and stops the machine. What the command prints goes to the output channel, whose first
# line tells the host that the boot is over.
export PATH=/host:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8

# Not an orderly power-off: that sends SYNCHRONIZE CACHE to every LUN and waits for ever when its daemon is dead.
# A crash ends User-Mode Linux at once, a reset ends qemu, which is told not to boot again.
stop() {
    case $machine in
        uml) echo c > /proc/sysrq-trigger ;;
        qemu) echo b > /proc/sysrq-trigger ;;
    esac
    exit
}

parameter() { sed -n "s/.*\\b$1=\\([^ ]*\\).*/\\1/p" /proc/cmdline; }

mount -t sysfs sysfs /sys
[ -e /dev/null ] || mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t tmpfs -o mode=755 run /run
mount -t tmpfs tmp /tmp
[ -e /dev/fd ] || ln -s /proc/self/fd /dev/fd
mkdir -p /run/dbus /run/lock
echo lunbox-guest > /proc/sys/kernel/hostname
busybox ip link set lo up

shell_on=$(parameter shell)
channel=
if grep -q hostfs /proc/filesystems; then
    machine=uml
    channel=/dev/tty1
elif [ -n "$shell_on" ]; then
    machine=qemu
    channel=/dev/$shell_on
else
    machine=qemu
    modprobe -a virtio_console virtio_rng 2> /dev/console
    tries=0
    until [ -n "$channel" ] || [ "$tries" -gt 500 ]; do # the port gets its name some time after the module is loaded
        for port in /sys/class/virtio-ports/*; do
            [ "$(cat "$port/name" 2> /dev/null)" = output ] && channel=/dev/${port##*/}
        done
        [ -n "$channel" ] || busybox usleep 10000
        tries=$((tries + 1))
    done
fi
[ -n "$channel" ] || { echo "guest-init: no output channel" > /dev/console; stop; }
[ "$channel" != /dev/tty1 ] || [ -n "$shell_on" ] || stty -F "$channel" raw -echo

modprobe -a configfs target_core_mod target_core_user tcm_loop sd_mod sg 2> /dev/console
mount -t configfs configfs /sys/kernel/config
dbus-daemon --system --fork --nopidfile 2> /dev/console

read -r uptime _ < /proc/uptime
echo "lunbox-guest: ready $uptime" > "$channel"
cd /root || exit
export LUNBOX_MACHINE=$machine
if [ -n "$shell_on" ]; then
    export TERM="${TERM:-linux}"
    # By their paths: busybox would take its own of these, and its own of everything that the command runs.
    /usr/bin/setsid -c /bin/sh /host/command < "$channel" > "$channel" 2>&1
else
    export TERM=dumb
    /usr/bin/setsid /bin/sh /host/command < /dev/null > "$channel" 2>&1
fi
echo $? > /host/status

stop
