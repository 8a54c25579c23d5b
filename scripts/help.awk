# Lists a Makefile's verbs: `##@ Group` opens a group, `verb: ## text` is a line of it.
BEGIN { print "Usage: make VERB [NAME=value …]" }
/^##@ / { printf "\n%s\n", substr($0, 5) }
/^[a-z-]+: ## / { i = index($0, ": ## "); printf "  %-16s %s\n", substr($0, 1, i - 1), substr($0, i + 5) }
