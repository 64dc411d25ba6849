#!/bin/sh
# A SCSI disk to the letter, as sg3_utils, sdparm and ddpt see it: what they recorded of tcmu-runner and every intended
# difference from that (golden/), and then what the recorded commands do not ask for.
# limit: 120
# machines: uml
. /host/tests/lib.sh
GOLDEN=/host/tests/golden

# Below the LUN a file system that has zero ranges.
mkdir -p /srv/images
start_lunboxd
mk_user f1 file//tmp/f1.raw $((256 * MIB))
put f1-serial-0001 "$CONFIGFS/core/user_0/f1/wwn/vpd_unit_serial"
map_loop f1 0
attentions_taken "$SG"

say "the recorded commands"
bounded 100 /host/tests/replay.py run $GOLDEN/tcmu-runner.txt "/dev/$SG" > "$SCRATCH/transcript" || {
    tail -n 20 "$SCRATCH/transcript"
    fail "the replay ended early"
}
[ -z "${LUNBOX_KEEP:-}" ] || cp "$SCRATCH/transcript" "$LUNBOX_KEEP"
bounded 20 /host/tests/replay.py compare $GOLDEN/tcmu-runner.txt "$SCRATCH/transcript" $GOLDEN/differences.md ||
    fail "an answer that is not on golden/differences.md, or an entry of it that is none"
remove_cleanly f1 0

mk_user disk file//srv/images/disk.img $((64 * MIB))
map_loop disk 0
attentions_taken "$SG"
D=/dev/$SG
IMAGE=/srv/images/disk.img
allocated() { echo $(($(stat -c %b $IMAGE) * 512)); }

# refused STATUS COMMAND…: COMMAND ends with that status of sg3_utils (5 illegal request, 7 data protect,
# 9 invalid opcode, 14 miscompare, 22 block out of range).
refused() {
    refused_status=$1
    shift
    bounded 20 "$@" > "$SCRATCH/refused" 2>&1
    refused_ended=$?
    [ $refused_ended = "$refused_status" ] || {
        cat "$SCRATCH/refused"
        fail "\`$*\` ended with $refused_ended, not $refused_status"
    }
}
also_says() { grep -Eq -- "$1" "$SCRATCH/refused" || fail "not $1: $(cat "$SCRATCH/refused")"; }
# blocks LBA COUNT FILE: reads them.
blocks() { must 20 sg_dd if="$D" of="$3" bs=512 skip="$1" count="$2" iflag=sgio; }
put_blocks() { must 20 sg_dd if="$2" of="$D" bs=512 seek="$1" count="$3" oflag=sgio; }
# holds LBA COUNT FILE: the blocks are what FILE starts with.
holds() {
    blocks "$1" "$2" /tmp/read-back
    cmp -n $(($2 * 512)) /tmp/read-back "$3" || fail "other data at block $1"
}
head -c 1048576 /dev/urandom > /tmp/noise
head -c 512 /dev/urandom > /tmp/block
for _ in 1 2 3 4 5 6 7 8; do cat /tmp/block; done > /tmp/eight
head -c 1048576 /dev/zero > /tmp/zeroes

say "every page that INQUIRY lists can be read"
must 20 sg_vpd -a "$D"
pages=$(sg_vpd --page=0 --raw "$D" | od -An -v -tu1 -w1 -j4 | tr -d ' ')
for page in 128 131 176 177 178; do echo "$pages" | grep -qx "$page" || fail "VPD page $page is not listed"; done
for page in $pages; do
    must 20 sg_vpd --raw --page="$page" "$D"
    # The length of the page is true: what is longer would be bytes of something else.
    must 20 sg_raw --request=1024 --outfile=/tmp/page "$D" 12 01 "$(printf %x "$page")" 04 00 00
    od -An -v -tu1 -N4 /tmp/page > "$SCRATCH/head"
    read -r _ code high low < "$SCRATCH/head"
    [ "$code" = "$page" ] || fail "page $page says that it is $code"
    [ "$(wc -c < /tmp/page)" = $((high * 256 + low + 4)) ] || fail "page $page has another length than it says"
done
says 'Unmap command supported \(LBPU\): 1' 20 sg_vpd --page=lbpv "$D"
says 'Write same \(16\) with unmap bit supported \(LBPWS\): 1' 20 sg_vpd --page=lbpv "$D"
says 'Maximum unmap LBA count: [1-9-]' 20 sg_vpd --page=bl "$D"
says 'Maximum compare and write length: [1-9]' 20 sg_vpd --page=bl "$D"
# What the LUN is made of is nobody's business.
if sg_vpd --page=di "$D" | grep -q srv; then fail "page 83h shows the file's name"; fi
says 'lbpme=1, lbprz=1' 20 sg_readcap -l "$D"

say "REPORT SUPPORTED OPERATION CODES, one by one and all"
must 20 sg_opcodes --unsorted "$D"
# Operation code and service action, as they stand in the first two columns.
for code in '03 ' '04 ' '12 ' '15 ' '1a ' '25 ' '28 ' '2a ' '2e ' '2f ' '34 ' '35 ' '41 ' '42 ' '4d ' '55 ' '5a ' '83 ' '84 *3 ' '88 ' \
    '89 ' '8a ' '8b ' '8e ' '8f ' '90 ' '91 ' '93 ' '9e *10 ' '9e *12 ' 'a3 *c ' 'a3 *d ' '7f *9 ' '7f *b ' '7f *c ' '7f *d '; do
    grep -Eq "^ *$code" "$SCRATCH/must" || {
        cat "$SCRATCH/must"
        fail "$code is not among the supported commands"
    }
done
if grep -Eq '^ *(48|9c|94|95) ' "$SCRATCH/must"; then fail "a command is listed that does not exist here"; fi
must 20 sg_opcodes --rctd "$D"
for code in 0x28 0x2a 0x42 0x89 0x93 0x9e,0x12 0x7f,0x9; do
    says '[Cc]ommand is supported|[Cc]ommand supported|[Ss]upported \[conforming' 20 sg_opcodes --opcode=$code "$D"
done
for code in 0x48,1 0x9c 0xff; do
    says 'NOT supported' 20 sg_opcodes --opcode=$code "$D"
done
says 'Logical unit reset' 20 sg_opcodes --tmf "$D"

say "UNMAP, GET LBA STATUS"
put_blocks 0 /tmp/noise 2048
must 20 sg_sync "$D"
full=$(allocated)
[ "$full" -ge 1048576 ] || fail "only $full bytes are occupied"
must 20 sg_unmap --force --lba=8,1024 --num=1000,512 "$D"
[ "$(allocated)" -le $((full - 700000)) ] || fail "UNMAP gave back nothing: $full before, $(allocated) after"
holds 0 8 /tmp/noise
blocks 8 1000 /tmp/read-back && cmp -n 512000 /tmp/read-back /tmp/zeroes || fail "unmapped blocks are not zero"
blocks 1008 16 /tmp/read-back && cmp -n 8192 -i 0:$((1008 * 512)) /tmp/read-back /tmp/noise || fail "UNMAP took its neighbours"
# First block, number of blocks, 0 mapped or 1 deallocated. A hole has whole pages of what is below.
must 20 sg_get_lba_status --brief --lba=0 --maxlen=256 "$D"
grep -Eq '^0x0+ +0x[0-9a-f]+ +0 ' "$SCRATCH/must" && grep -Eq '^0x[0-9a-f]+ +0x[0-9a-f]+ +1 ' "$SCRATCH/must" || {
    cat "$SCRATCH/must"
    fail "no extent that is mapped and one that is not"
}
refused 22 sg_unmap --force --lba=$((64 * MIB / 512)) --num=1 "$D"
refused 22 sg_get_lba_status --lba=$((64 * MIB / 512)) "$D"
must 20 sg_unmap --force --lba=0 --num=0 "$D"

say "WRITE SAME 10, 16 and 32, with blocks, without, and with UNMAP"
for form in --10 --16 --32; do
    put_blocks 64 /tmp/noise 64
    must 20 sg_write_same $form --in=/tmp/block --xferlen=512 --lba=72 --num=8 "$D"
    holds 72 8 /tmp/eight
    holds 64 8 /tmp/noise
    blocks 80 8 /tmp/read-back && cmp -n 4096 -i 0:$((16 * 512)) /tmp/read-back /tmp/noise || fail "WRITE SAME $form wrote too much"
done
for form in --16 --32; do
    put_blocks 64 /tmp/noise 64
    must 20 sg_write_same $form --ndob --lba=72 --num=8 "$D"
    holds 72 8 /tmp/zeroes
    holds 64 8 /tmp/noise
done
put_blocks 2048 /tmp/noise 2048
must 20 sg_sync "$D"
full=$(allocated)
must 20 sg_write_same --16 --unmap --in=/tmp/zeroes --xferlen=512 --lba=2048 --num=2048 "$D"
[ "$(allocated)" -le $((full - 900000)) ] || fail "WRITE SAME with UNMAP gave back nothing: $full before, $(allocated) after"
holds 2048 2048 /tmp/zeroes
# A block that is not what unmapped blocks read as is written.
must 20 sg_write_same --16 --unmap --in=/tmp/block --xferlen=512 --lba=2048 --num=8 "$D"
holds 2048 8 /tmp/eight
refused 22 sg_write_same --16 --in=/tmp/block --xferlen=512 --lba=$((64 * MIB / 512)) --num=1 "$D"

say "COMPARE AND WRITE of several blocks"
put_blocks 128 /tmp/noise 16
{ head -c 4096 /tmp/noise && cat /tmp/eight; } > /tmp/caw
must 20 sg_compare_and_write --in=/tmp/caw --lba=128 --num=8 --xferlen=8192 "$D"
holds 128 8 /tmp/eight
# Now other data is there: byte 0 differs, unless the noise starts as the block does.
refused 14 sg_compare_and_write --in=/tmp/caw --lba=128 --num=8 --xferlen=8192 "$D"
holds 128 8 /tmp/eight
# A difference in the last of several blocks is found too, and told where it is.
{ head -c 4095 /tmp/eight && printf '\0' && cat /tmp/zeroes; } | head -c 8192 > /tmp/caw
[ "$(tail -c 1 /tmp/eight | od -An -tu1 | tr -d ' ')" != 0 ] || { printf '\1' | dd of=/tmp/caw bs=1 seek=4095 conv=notrunc 2> /dev/null; }
refused 14 sg_compare_and_write --verbose --in=/tmp/caw --lba=128 --num=8 --xferlen=8192 "$D"
also_says 'byte offset: 4095'
holds 128 8 /tmp/eight

say "VERIFY and WRITE AND VERIFY"
put_blocks 256 /tmp/noise 16
must 20 sg_verify --lba=256 --count=16 "$D"
must 20 sg_verify --16 --lba=256 --count=16 "$D"
must 20 sg_verify --ndo=8192 --in=/tmp/noise --lba=256 --count=16 "$D"
must 20 sg_verify --16 --ndo=8192 --in=/tmp/noise --lba=256 --count=16 "$D"
refused 14 sg_verify --ndo=8192 --in=/tmp/zeroes --lba=256 --count=16 "$D"
put_blocks 256 /tmp/eight 8
must 20 sg_verify --ebytchk=3 --ndo=512 --in=/tmp/block --lba=256 --count=8 "$D"
refused 14 sg_verify --ebytchk=3 --ndo=512 --in=/tmp/zeroes --lba=256 --count=8 "$D"
must 20 sg_write_verify --lba=320 --num=16 --ilen=8192 --in=/tmp/noise "$D"
holds 320 16 /tmp/noise
must 20 sg_write_verify --16 --bytchk=1 --lba=336 --num=8 --ilen=4096 --in=/tmp/eight "$D"
holds 336 8 /tmp/eight

say "ORWRITE, PRE-FETCH, READ and WRITE 32"
must 20 sg_raw --send=512 --infile=/tmp/zeroes "$D" 8b 00 00 00 00 00 00 00 01 50 00 00 00 01 00 00
holds 336 1 /tmp/block
must 20 sg_write_same --16 --ndob --lba=336 --num=1 "$D"
must 20 sg_raw --send=512 --infile=/tmp/block "$D" 8b 00 00 00 00 00 00 00 01 50 00 00 00 01 00 00
holds 336 1 /tmp/block
# Good or, because all blocks fit the cache, CONDITION MET, which sg3_utils takes for status 25.
for cdb in '34 00 00 00 01 00 00 00 10 00' '90 00 00 00 00 00 00 00 01 00 00 00 00 10 00 00'; do
    # shellcheck disable=SC2086 # the bytes of a command
    bounded 20 sg_raw "$D" $cdb > "$SCRATCH/prefetch" 2>&1
    grep -Eq 'SCSI Status: (Good|Condition Met)' "$SCRATCH/prefetch" || fail "PRE-FETCH: $(cat "$SCRATCH/prefetch")"
done
must 20 sg_raw --send=512 --infile=/tmp/noise "$D" 7f 00 00 00 00 00 00 18 00 0b 00 00 00 00 00 00 00 00 01 60 00 00 00 00 00 00 00 00 00 00 00 01
holds 352 1 /tmp/noise
must 20 sg_raw --request=512 --outfile=/tmp/read-back "$D" 7f 00 00 00 00 00 00 18 00 09 00 00 00 00 00 00 00 00 01 60 00 00 00 00 00 00 00 00 00 00 00 01
cmp -n 512 /tmp/read-back /tmp/noise || fail "READ(32) read other data"

say "mode pages that can be changed"
# field NAME: its current value, as sdparm tells.
field() {
    attentions_taken "$SG"
    sdparm --get="$1" "$D" 2> /dev/null | awk -v name="$1" '$1 == name { print $2 }'
}
for name in WCE D_SENSE SWP; do
    was=$(field $name)
    other=$((1 - was))
    must 20 sdparm --set="$name=$other" "$D"
    [ "$(field $name)" = $other ] || fail "$name is $(field $name), not $other"
    case $name in
        SWP) refused 7 sg_write_same --16 --in=/tmp/block --xferlen=512 --lba=0 --num=1 "$D" ;;
        D_SENSE)
            refused 22 sg_raw --request=512 "$D" 28 00 ff ff ff f0 00 00 01 00
            also_says '[Dd]escriptor format'
            ;;
    esac
    must 20 sdparm --set="$name=$was" "$D"
    [ "$(field $name)" = "$was" ] || fail "$name is $(field $name), not $was again"
done
attentions_taken "$SG"
refused 5 sdparm --set=RCD=1 "$D"

say "REQUEST SENSE, LOG SENSE"
says 'No additional sense|No Sense' 20 sg_requests "$D"
must 20 sg_requests --desc "$D"
must 20 sg_logs --list "$D"
says '[Ll]ogical block provisioning' 20 sg_logs --page=0xc "$D"

say "EXTENDED COPY within the LUN"
put_blocks 512 /tmp/noise 256
must 30 sg_xcopy if="$D" of="$D" bs=512 count=256 skip=512 seek=4096
holds 4096 256 /tmp/noise
must 30 ddpt if="$D" of="$D" bs=512 count=256 skip=512 seek=8192 iflag=xcopy
holds 8192 256 /tmp/noise
says 'Copy from block device to block device' 20 sg_copy_results --params "$D"
# Into another LUN it is refused, whoever asks: the other tenant's data is not ours to touch.
mk_user neighbour file//srv/images/neighbour.img $((64 * MIB))
map_loop neighbour 1
attentions_taken "$SG"
must 20 dd if=/tmp/noise of="/dev/$DISK" bs=1M count=1 oflag=direct
if bounded 30 sg_xcopy if="$D" of="/dev/$SG" bs=512 count=8 skip=512 seek=0 > "$SCRATCH/foreign" 2>&1; then fail "copied into another LUN"; fi
if bounded 30 sg_xcopy if="/dev/$SG" of="$D" bs=512 count=8 skip=0 seek=12288 > "$SCRATCH/foreign" 2>&1; then fail "copied from another LUN"; fi
if bounded 30 sg_xcopy --on_src if="/dev/$SG" of="$D" bs=512 count=8 skip=0 seek=12288 > "$SCRATCH/foreign" 2>&1; then fail "copied from another LUN"; fi
holds 12288 8 /tmp/zeroes
must 20 cmp -n 1048576 "/dev/$DISK" /tmp/noise
remove_cleanly neighbour 1
# The other LUN came and went.
attentions_taken "${D#/dev/}"

say "FORMAT UNIT"
# Waited for in the command itself: the program looks at one in the background once a minute.
must 60 sg_format --format --quick --wait "$D"
holds 0 2048 /tmp/zeroes
must 20 sg_format --format --early --quick "$D"
within 30 "the format that goes on in the background ends" sg_turs "$D" > "$SCRATCH/turs" 2>&1

say "what no disk has to know"
for cdb in 'ff 00 00 00 00 00' 'c0 00 00 00 00 00' 'e5 00 00 00 00 00 00 00 00 00'; do
    # shellcheck disable=SC2086 # the bytes of a command
    refused 9 sg_raw --timeout=8 "$D" $cdb
done
daemon_alive
remove_cleanly disk 0
no_kernel_errors
stop_lunboxd || fail "lunboxd ended with status $?"
say "done"
