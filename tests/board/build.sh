#!/bin/bash
# Builds, once, the disk of the virtual board: Debian 13 (trixie) for 64-bit ARM with its own kernel.
#   sudo tests/board/build.sh FOLDER
# FOLDER gets root/ (the tree), disk.img, vmlinuz, initrd.img and the key for ssh. The packages come from the
# Debian mirror that this machine's own apt uses, or from MIRROR=URL. Programs of the second stage run under
# user-mode emulation: 20 to 45 minutes of one core.
set -euo pipefail
FOLDER=${1:?usage: build.sh FOLDER}
HERE=$(cd "$(dirname "$0")" && pwd)
SUITE=trixie
PICAMERA2=picamera2==0.3.25   # of the time of libcamera 0.4, which Debian 13 has
DISK_GB=6
# vivid (a real /dev/video0) is in the full kernel, not in the one for clouds. libcamera has its virtual camera.
PACKAGES=linux-image-arm64,systemd,systemd-sysv,systemd-timesyncd,udev,dbus,kmod,openssh-server,iproute2
PACKAGES+=,python3,python3-venv,python3-prctl,python3-libcamera,libcamera-ipa,v4l-utils
PACKAGES+=,mosquitto,mosquitto-clients,procps,sqlite3

[ "$(id -u)" = 0 ] || { echo "build.sh: run it as root: debootstrap makes device nodes" >&2; exit 2; }
for program in debootstrap mkfs.ext4 ssh-keygen; do
  command -v $program >/dev/null || { echo "build.sh: $program is missing: apt install debootstrap e2fsprogs openssh-client" >&2; exit 2; }
done

. "$HERE/mirror.sh"

# The kernel hands ARM programs to QEMU; flag F opens QEMU at once, so that it is found inside the new root too.
register_emulation() {
  local table=/proc/sys/fs/binfmt_misc
  [ "$(uname -m)" = aarch64 ] && return
  [ -e $table/register ] || mount -t binfmt_misc binfmt_misc $table
  [ -e $table/qemu-aarch64 ] && return
  local qemu magic mask
  qemu=$(command -v qemu-aarch64-static) || { echo "build.sh: apt install qemu-user-static" >&2; exit 2; }
  magic='\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
  mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
  echo ":qemu-aarch64:M::$magic:$mask:$qemu:OCF" >$table/register
}

# The second stage reads the index of all 68000 packages again and again, with Perl under emulation: minutes each
# time. Those that it installs are enough.
shorten_index() {
  local root=$1 index
  for index in "$root"/var/lib/apt/lists/*_Packages; do
    { tr -s ' ' '\n' <"$root/debootstrap/required"; echo; tr -s ' ' '\n' <"$root/debootstrap/base"; echo; } |
      awk -v index_file="$index" '
        NF { wanted[$1] = 1 }
        END { RS = ""; while ((getline stanza < index_file) > 0) {
          split(stanza, word); if (word[2] in wanted) print stanza "\n" } }' >"$index.short"
    mv "$index.short" "$index"
  done
}

build_tree() {
  local root=$FOLDER/root.partial
  rm -rf "$root"
  debootstrap --arch=arm64 --foreign --variant=minbase --include=$PACKAGES $SUITE "$root" "$MIRROR"
  cp -r "$HERE/root/." "$root/"
  shorten_index "$root"
  chroot "$root" /debootstrap/debootstrap --second-stage
  mv "$root" "$FOLDER/root"
}

# What "apt install python3-picamera2" brings on a Raspberry Pi and Debian does not have: from PyPI, beside the
# system's libcamera. PiDNG has no wheel; its C part is for writing DNG files, which nobody does here. kms++ is for
# picamera2's window alone, and neither Debian nor PyPI has it built for this board: root/ has a stand-in, pykms.py.
add_picamera2() {
  local target=$FOLDER/root/usr/local/lib/python3.13/dist-packages tools=$FOLDER/tools wheels=$FOLDER/wheels
  local platforms=(--platform manylinux2014_aarch64 --platform manylinux_2_28_aarch64 --python-version 3.13)
  [ ! -d "$target/picamera2" ] || return 0
  "$tools/bin/pip" install --quiet setuptools wheel numpy
  install -d "$target" "$wheels"
  "$tools/bin/pip" install --quiet --no-deps --only-binary=:all: "${platforms[@]}" --target "$target" --upgrade \
    $PICAMERA2 simplejpeg piexif videodev2 v4l2-python3 libarchive-c jsonschema attrs referencing rpds-py \
    jsonschema-specifications tqdm pillow av
  "$tools/bin/pip" download --quiet --no-deps --no-binary=:all: --no-build-isolation --dest "$wheels" pidng
  tar -xzf "$wheels"/pidng-*.tar.gz -C "$wheels"
  cp -r "$wheels"/pidng-*/src/pidng "$target/"
}

# Two things in which libcamera's virtual camera is unlike those that picamera2 knows: it has no raw stream, and gives
# nothing where its modes are asked for; and it does not say how much of a buffer it has filled.
adapt_picamera2() {
  local package=$FOLDER/root/usr/local/lib/python3.13/dist-packages/picamera2
  sed -i 's/generate_configuration(\[libcamera.StreamRole.Raw\])/generate_configuration([libcamera.StreamRole.VideoRecording])/' \
    "$package/picamera2.py"
  sed -i 's/buflen + p_metadata.bytes_used/buflen + (p_metadata.bytes_used or p.length)/' "$package/allocators/allocator.py"
}

# For the tests of the camera back-ends; aside, so that the installer on the board does not find them.
add_pytest() {
  local target=$FOLDER/root/usr/local/lib/pytest
  [ ! -d "$target" ] || return 0
  "$FOLDER/tools/bin/pip" install --quiet --no-deps --only-binary=:all: --target "$target" \
    pytest pytest-timeout pluggy iniconfig packaging pygments
}

configure_tree() {
  local root=$FOLDER/root
  cp -r "$HERE/root/." "$root/"
  echo board >"$root/etc/hostname"
  printf '127.0.0.1 localhost board\n' >"$root/etc/hosts"
  printf '/dev/vda / ext4 errors=remount-ro 0 1\n' >"$root/etc/fstab"
  : >"$root/etc/machine-id"
  [ -e "$FOLDER/key" ] || ssh-keygen -q -t ed25519 -N '' -C board -f "$FOLDER/key"
  install -d -m 700 "$root/root/.ssh"
  install -m 600 "$FOLDER/key.pub" "$root/root/.ssh/authorized_keys"
  chroot "$root" systemctl --quiet enable systemd-networkd
  chroot "$root" systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer e2scrub_reap.service
  python3 -m venv "$FOLDER/tools"
  add_picamera2
  adapt_picamera2
  add_pytest
  rm -rf "$root"/var/lib/apt/lists/*
  rm -f "$root"/var/cache/apt/archives/*.deb
}

build_disk() {
  local root=$FOLDER/root
  cp -L "$root/vmlinuz" "$FOLDER/vmlinuz"
  cp -L "$root/initrd.img" "$FOLDER/initrd.img"
  rm -f "$FOLDER/disk.partial"
  truncate -s ${DISK_GB}G "$FOLDER/disk.partial"
  mkfs.ext4 -q -L board -d "$root" "$FOLDER/disk.partial"
  mv "$FOLDER/disk.partial" "$FOLDER/disk.img"
}

mkdir -p "$FOLDER"
[ -e "$FOLDER/disk.img" ] && { echo "build.sh: $FOLDER/disk.img is there already; remove it to build anew"; exit 0; }
if [ ! -d "$FOLDER/root" ]; then
  echo "build.sh: Debian $SUITE for arm64 into $FOLDER; 20 to 45 minutes"
  register_emulation
  build_tree
fi
register_emulation
configure_tree
build_disk
echo "build.sh: $FOLDER/disk.img is ready"
