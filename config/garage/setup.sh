#!/bin/sh
# Makes one cluster of Garage nodes that run already: connects them, lays them out with a zone each, makes a
# bucket, and a key that may use it. By Garage's administration API (v2). Running it again changes nothing.
#
#   ADMIN_URLS           administration of each node, with spaces between; the first one is asked
#   ADMIN_TOKEN          admin_token of the nodes
#   CAPACITY             bytes for each node
#   BUCKET               bucket to make
#   ACCESS_KEY_ID        key to make: GK and 24 hexadecimal digits
#   SECRET_ACCESS_KEY    its secret: 64 hexadecimal digits
set -eu

first=${ADMIN_URLS%% *}

call() { # method, url, [body]
    curl --silent --show-error --fail-with-body --max-time 30 --request "$1" \
        --header "Authorization: Bearer $ADMIN_TOKEN" --header 'Content-Type: application/json' \
        ${3+--data "$3"} "$2"
}

# The first value of a field in indented JSON.
field() {
    sed -n "s/^ *\"$1\": *\"\{0,1\}\([^\",]*\)\"\{0,1\},\{0,1\}$/\1/p" | head -n 1
}

nodes='' roles='' zone=0
for url in $ADMIN_URLS; do
    tries=0
    until info=$(call GET "$url/v2/GetNodeInfo?node=self"); do
        tries=$((tries + 1))
        [ "$tries" -lt 60 ] || exit 1
        sleep 1
    done
    id=$(printf '%s\n' "$info" | field nodeId)
    address=$(printf '%s\n' "$info" | field addr)
    nodes="$nodes${nodes:+,}\"$id@$address\""
    roles="$roles${roles:+,}{\"id\":\"$id\",\"zone\":\"zone-$zone\",\"capacity\":$CAPACITY,\"tags\":[]}"
    zone=$((zone + 1))
done
[ "$zone" -eq 1 ] || call POST "$first/v2/ConnectClusterNodes" "[$nodes]" > /dev/null

layout=$(call GET "$first/v2/GetClusterLayout" | field version)
if [ "$layout" -eq 0 ]; then
    call POST "$first/v2/UpdateClusterLayout" "{\"roles\":[$roles]}" > /dev/null
    call POST "$first/v2/ApplyClusterLayout" '{"version":1}' > /dev/null
fi
tries=0
until [ "$(call GET "$first/v2/GetClusterHealth" | field status)" = healthy ]; do
    tries=$((tries + 1))
    [ "$tries" -lt 60 ] || exit 1
    sleep 1
done

if ! bucket=$(call GET "$first/v2/GetBucketInfo?globalAlias=$BUCKET" 2> /dev/null | field id) || [ -z "$bucket" ]; then
    bucket=$(call POST "$first/v2/CreateBucket" "{\"globalAlias\":\"$BUCKET\"}" | field id)
fi
if ! call GET "$first/v2/GetKeyInfo?id=$ACCESS_KEY_ID" > /dev/null 2>&1; then
    key="{\"accessKeyId\":\"$ACCESS_KEY_ID\",\"secretAccessKey\":\"$SECRET_ACCESS_KEY\",\"name\":\"proof-storage\"}"
    call POST "$first/v2/ImportKey" "$key" > /dev/null
fi
grant="{\"bucketId\":\"$bucket\",\"accessKeyId\":\"$ACCESS_KEY_ID\""
grant="$grant,\"permissions\":{\"read\":true,\"write\":true,\"owner\":false}}"
call POST "$first/v2/AllowBucketKey" "$grant" > /dev/null
echo "bucket $BUCKET is ready on $zone node(s)"
