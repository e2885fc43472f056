#!/bin/sh
# Make sure that RabbitMQ, Redis, a browser and libfaketime are on this machine. As root on Debian they are installed, without
# starting the servers that come with the packages: the tests run private ones. Anybody else is told what to install.
set -eu

missing=
[ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || missing="rabbitmq-server"
command -v redis-server >/dev/null || missing="$missing redis-server"
command -v chromium >/dev/null || missing="$missing chromium"
[ -e "/usr/lib/$(uname -m)-linux-gnu/faketime/libfaketimeMT.so.1" ] || missing="$missing libfaketime"
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "Missing: $missing. Install it first (Debian, as root: apt-get install $missing)." >&2
    exit 1
fi

# invoke-rc.d asks this file before it starts anything; 101 says no.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
echo "Installing $missing" >&2
# shellcheck disable=SC2086
apt-get -o DPkg::Lock::Timeout=120 install -qq -y --no-install-recommends $missing >/dev/null 2>&1 || {
    apt-get update -qq
    apt-get -o DPkg::Lock::Timeout=120 install -qq -y --no-install-recommends $missing >/dev/null
}
