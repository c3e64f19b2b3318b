# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
#
# manual.awk - a manual page from what a script's first lines say
#
#   awk -v name=tide-odp -v version=0.1 -f manual.awk perf/odp >tide-odp.1
#
# From the line `# NAME' on to the first one that is no comment: titles of sections are not indented, text is, by four
# spaces. In it a paragraph ends at an empty line. What is followed by two spaces or more is an option, whose text goes
# on in that column; lines of SYNOPSIS and EXAMPLES stand for themselves. perf/NAME is called by its installed name, and
# options that take the source tree are left out, with their lines.

BEGIN {
	printf ".\\\" SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB\n"
	printf ".\\\" Made of the first lines of the command itself.\n"
	printf ".TH %s 1 \"\" \"tide %s\" \"User Commands\"\n.nh\n.ad l\n", toupper(name), version
}

/^# NAME$/ { inside = 1 }
inside && !/^#/ { exit }
!inside { next }

{
	sub(/^# ?/, "")
	gsub(/perf\/[a-z]+/, name)
	if (section != "DESCRIPTION" && /tests\/vm|-k,|-k KERNEL|-k [0-9]/) {
		left_out = 1
		next
	}
	if (left_out && /^         /)
		next
	left_out = 0
}

/^[A-Z]/ {
	section = $0
	printf ".SH %s\n", section
	fresh = 1
	next
}

/^$/ {
	if (!fresh)
		print ".PP"
	fresh = 1
	next
}

{
	sub(/^    /, "")
}

section == "SYNOPSIS" || section == "EXAMPLES" {
	printf "%s\n.br\n", escaped(bold_first($0))
	next
}

section == "OPTIONS" && /^[^ ]/ {
	text = $0
	match(text, /[^ ]  +/)
	printf ".TP\n\\fB%s\\fR\n", escaped(substr(text, 1, RSTART))
	text = substr(text, RSTART + RLENGTH)
	printf "%s\n", escaped(text)
	next
}

{
	sub(/^ */, "")
	print escaped($0)
	fresh = 0
}

function bold_first(line) {
	sub(name, "\001&\002", line)
	return line
}

function escaped(line) {
	gsub(/\\/, "\\e", line)
	gsub(/-/, "\\-", line)
	gsub(/`/, "\\(oq", line)
	gsub(/'/, "\\(cq", line)
	sub(/^\./, "\\\\\\&.", line)
	gsub(/\001/, "\\fB", line)
	gsub(/\002/, "\\fR", line)
	return line
}
