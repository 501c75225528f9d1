#!/bin/sh
# Grades a class.
#
# Usage: tools/exercises/class.sh FOLDER [SECONDS]
#
# FOLDER has a folder for each student, which contains NN-name/main.go, at any
# depth, for each exercise handed in. A clone of this repository will do. The
# script prints a line for each exercise: student, exercise, outcome. SECONDS is
# the time limit of one grading, 120 by default.
set -eu

if [ ! -d "${1-}" ]; then
	echo "usage: $0 FOLDER [SECONDS]; FOLDER has a folder for each student" >&2
	exit 2
fi
class=$(cd "$1" && pwd)
limit=${2-120}

# The script works in a copy of this repository. A student cannot change the
# tests there, and your own main.go files stay as they are.
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
trap 'exit 130' INT TERM
cd "$(dirname "$0")/../.."
cp -r go.mod go.sum internal tools exercises step* "$copy"
cd "$copy"
rm -rf exercises/.progress exercises/*/main.go
export GOWORK=off CGO_ENABLED=0
go build -o grade ./tools/exercises

for student in "$class"/*/; do
	[ -d "$student" ] || { echo "$0: $class has no folders: one for each student" >&2; exit 2; }
	found=no
	for exercise in exercises/[0-9]*/; do
		name=$(basename "$exercise")
		main=$(find "$student" -path "*/$name/main.go" | head -n 1)
		[ -n "$main" ] || continue
		found=yes
		if cmp -s "$main" "$exercise/starter/main.go"; then
			printf '%-16s %-18s %s\n' "$(basename "$student")" "$name" "not begun"
			continue
		fi
		if ! cp "$main" "$exercise/main.go" 2>error; then
			printf '%-16s %-18s %s\n' "$(basename "$student")" "$name" "not graded: $(cat error)"
			continue
		fi
		code=0
		timeout --foreground -k 10 "$limit" ./grade check -json "$name" >report 2>error </dev/null || code=$?
		outcome=$(sed -n 's/^  "says": "\(.*\)",$/\1/p' report)
		if [ "$code" = 124 ] || [ "$code" = 137 ]; then
			outcome="no verdict within $limit s"
		fi
		[ -n "$outcome" ] || outcome="not graded: $(cat error)"
		printf '%-16s %-18s %s\n' "$(basename "$student")" "$name" "$outcome"
	done
	[ "$found" = yes ] || printf '%-16s %-18s %s\n' "$(basename "$student")" - "no NN-name/main.go found"
	# Report a misspelt folder. In a clone, folders of other names have a main.go.
	for main in "$student"/*/main.go; do
		name=$(basename "$(dirname "$main")")
		[ ! -e "$main" ] || [ -d "exercises/$name" ] || [ -e "$student/go.mod" ] || [ "$found" = no ] ||
			printf '%-16s %-18s %s\n' "$(basename "$student")" "$name" "is no exercise"
	done
done
