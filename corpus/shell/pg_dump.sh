# A nightly pg_dump beside the application, through the pooler or directly.
case $1 in
direct) url=$DIRECT_URL ;;
*) url=$DATABASE_URL ;;
esac
if ! pg_dump --schema-only "$url" | grep -q 'CREATE TABLE public.item'; then
	echo "wrong: the dump lacks a table"
	exit 1
fi
