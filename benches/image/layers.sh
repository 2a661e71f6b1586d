#!/bin/bash
# Makes the five layers of the image that the rows about registries move, as plain tars in $1 (about 1.5 GB; needs root,
# mmdebstrap and a Debian mirror): minbase, nginx and redis, postgresql, python3 and git, gcc. layouts.py goes on.
set -eu
directory=${1:?a directory}
work=$directory/work
mkdir -p "$work"
mmdebstrap --variant=minbase --mode=root bookworm "$work/l1" http://deb.debian.org/debian
lower=$work/l1
number=1
for packages in "nginx redis-server" "postgresql" "python3 git" "gcc g++"; do
  number=$((number + 1))
  upper=$work/l$number merged=$work/m$number
  mkdir -p "$upper" "$work/w$number" "$merged"
  mount -t overlay overlay -o "lowerdir=$lower,upperdir=$upper,workdir=$work/w$number" "$merged"
  mount -t proc proc "$merged/proc"
  cp /etc/resolv.conf "$merged/etc/resolv.conf"
  printf '#!/bin/sh\nexit 101\n' > "$merged/usr/sbin/policy-rc.d"
  chmod +x "$merged/usr/sbin/policy-rc.d"
  chroot "$merged" sh -c "apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy $packages"
  umount "$merged/proc"
  umount "$merged"
  lower=$upper:$lower
done
for number in 1 2 3 4 5; do
  cd "$work/l$number"
  # Overlay's whiteouts become those of image layers.
  find . -type c | while read -r file; do
    if [ "$(stat -c %t:%T "$file")" = 0:0 ]; then
      rm "$file"
      touch "$(dirname "$file")/.wh.$(basename "$file")"
    fi
  done
  tar --numeric-owner --sort=name -cf "$directory/layer$number.tar" .
done
cd /
rm -rf "$work"
