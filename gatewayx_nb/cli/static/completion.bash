# Completion of gatewayx in bash: eval "$(gatewayx completion bash)"
_gatewayx() {
  local current=${COMP_WORDS[COMP_CWORD]} words=
  if [ "$COMP_CWORD" -eq 1 ]; then
    words="ask cassette completion doctor eval health help history init key keys map models new pull security serve settings status tools trust use"
  else
    case ${COMP_WORDS[1]} in
      ask) words="--system --temperature --max-tokens --effort --image --param --timeout --allow-unpriced --tools --max-cost --fresh --renew --fallback --schema --cassette --json --no-stream --dry-run --quiet --help" ;;
      cassette) words="--prune" ;;
      completion) words="bash zsh fish engines" ;;
      eval) words="--prompt --model --scorer --judge --judge-model --expected --id --cluster --samples --at-least --at-most --no-worse-than --margin --system --temperature --max-tokens --effort --param --timeout --allow-unpriced --tools --max-cost --fresh --fallback --schema --missing --max-age --name --concurrency --cassette --quiet --help --save --save-baseline" ;;
      key) words="set remove import --user --new" ;;
      map) words="--prompt --model --system --temperature --max-tokens --effort --param --timeout --allow-unpriced --tools --max-cost --fresh --fallback --schema --missing --max-age --name --concurrency --cassette --quiet --help --force --dry-run" ;;
      models) words="--live" ;;
      new) words="--url --package" ;;
      pull) words="--from --remove" ;;
      serve) words="--port --host --cassette" ;;
      trust) words="--show --revoke" ;;
    esac
    case ${COMP_WORDS[1]} in
      ask|health|key|models|status|use) case $current in
        -*) ;;
        *) words="$words $(gatewayx completion engines 2>/dev/null)" ;;
      esac ;;
    esac
  fi
  # `compgen -W` would run commands in the names, which come from the files of a project.
  local -a all=()
  local word
  IFS=$' 
' read -r -d '' -a all <<< "$words"
  COMPREPLY=()
  for word in "${all[@]}"; do
    if [[ $word == "$current"* ]]; then COMPREPLY+=("$word"); fi
  done
}
complete -o default -F _gatewayx gatewayx
