#compdef gatewayx
# Completion of gatewayx in zsh: eval "$(gatewayx completion zsh)"
_gatewayx() {
  local -a words_
  if (( CURRENT == 2 )); then
    words_=('ask:call a model in one line; returns the reply' 'cassette:describe a file of recorded replies' 'completion:print the completion script of a shell' 'doctor:check what a call needs, and say what to do' 'eval:score prompts and models on the rows of a file' 'health:check that engines work' 'help:list the commands, or explain one' 'history:show the latest calls and their cost' 'init:create config/ and engines/ in this repository' 'key:set a key (you are prompted) or remove it; import keys from a .env file' 'keys:show which keys are set, and where' 'map:ask a model about each row of a file' 'models:list the models that can be called' 'new:create an engine file, settings entry or package' 'pull:download a model that runs on this machine' 'security:show who can read keys and change code' 'serve:serve other programs in the formats of OpenAI and Anthropic' 'settings:show every setting, its value and what it means' 'status:show every engine and what it needs' 'tools:list the MCP servers and their tools' 'trust:allow this project to use your keys or to run its own code; asks first' 'use:save the default model')
    _describe command words_
    return
  fi
  case $words[2] in
    ask) words_=(--system --temperature --max-tokens --effort --image --param --timeout --allow-unpriced --tools --max-cost --fresh --renew --fallback --schema --cassette --json --no-stream --dry-run --quiet --help) ;;
    cassette) words_=(--prune) ;;
    completion) words_=(bash zsh fish engines) ;;
    eval) words_=(--prompt --model --scorer --judge --judge-model --expected --id --cluster --samples --at-least --at-most --no-worse-than --margin --system --temperature --max-tokens --effort --param --timeout --allow-unpriced --tools --max-cost --fresh --fallback --schema --missing --max-age --name --concurrency --cassette --quiet --help --save --save-baseline) ;;
    key) words_=(set remove import --user --new) ;;
    map) words_=(--prompt --model --system --temperature --max-tokens --effort --param --timeout --allow-unpriced --tools --max-cost --fresh --fallback --schema --missing --max-age --name --concurrency --cassette --quiet --help --force --dry-run) ;;
    models) words_=(--live) ;;
    new) words_=(--url --package) ;;
    pull) words_=(--from --remove) ;;
    serve) words_=(--port --host --cassette) ;;
    trust) words_=(--show --revoke) ;;
  esac
  case $words[2] in
    ask|health|key|models|status|use) words_+=(${(f)"$(gatewayx completion engines 2>/dev/null)"}) ;;
  esac
  compadd -- $words_
  _files
}
compdef _gatewayx gatewayx
