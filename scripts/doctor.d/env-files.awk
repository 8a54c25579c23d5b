# Report the lines of env files that Compose or the contract would misread or reject.
# awk -f env-files.awk env/variables.tsv FILE…

function bad(text, remedy) { printf "bad\tenv_files\t%s:%d: %s\t%s\n", FILENAME, FNR, text, remedy }

# The share of letter pairs that two names have in common, from 0 to 1.
function similarity(a, b,    i, shared) {
  for (i = 1; i < length(a); i++) shared += index(b, substr(a, i, 2)) > 0
  return 2 * shared / (length(a) + length(b) - 2)
}

# The most similar name in the contract, or nothing if no name is similar enough.
function nearest(name,    candidate, score, best, found) {
  best = 0.5
  for (candidate in known) {
    score = similarity(name, candidate)
    if (score > best || (score == best && (found == "" || candidate < found))) { best = score; found = candidate }
  }
  return found
}

NR == FNR { if (!/^#/) known[$1]; next }
FNR == 1 { split("", seen); edit = "${EDITOR:-vi} " FILENAME }
{ sub(/\r$/, "") }
/^[ \t]*(#|$)/ { next }
!/^[A-Za-z_][A-Za-z0-9_]*=/ { bad("this line is not of the form NAME=value.", edit); next }
{
  name = $0; sub(/=.*/, "", name)
  value = substr($0, length(name) + 2)
  quote = substr(value, 1, 1)
  if (value == "") bad(name " is empty. Give it a value, or delete the line.", edit)
  if (quote != "'" && index(value, "$")) bad("Compose would expand the $ in " name ". Put the value in single quotes.", edit)
  if ((quote == "'" || quote == "\"") && (length(value) < 2 || substr(value, length(value)) != quote))
    bad("the quote in " name " is not closed.", edit)
  if (name in seen) bad(name " is set twice.", edit)
  seen[name]

  bare = name; sub(/_FILE$/, "", bare)
  # The variables of postgres.env belong to the official image.
  if (name in known || bare in known || (FILENAME == "env/postgres.env" && name ~ /^(POSTGRES_|PGDATA)/)) next
  likely = nearest(bare)
  if (likely == "") bad(name " is not a variable of the contract.", edit)
  else bad(name " is not a variable of the contract. Did you mean " likely "?", "sed -i.bak s/^" name "=/" likely "=/ " FILENAME)
}
