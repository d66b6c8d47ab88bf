#!/bin/sh
# Compiler launcher for nvcc: runs the command given and writes what ptxas reports of each kernel
# into <object>.ptxas; everything else that the compiler says goes to stderr.
object=
before=
for word in "$@"; do
  if [ "$before" = -o ]; then object=$word; fi
  before=$word
done
case $object in
  *.o) ;;
  *) exec "$@" ;;
esac

said=$object.said
"$@" 2>"$said"
status=$?
report='^ptxas info|^ +[0-9]+ bytes stack frame|^ptxas : info'
grep -E "$report" "$said" >"$object.ptxas"
grep -Ev "$report" "$said" >&2
rm -f "$said"
exit $status
