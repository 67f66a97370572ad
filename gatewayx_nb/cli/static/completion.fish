# Completion of gatewayx in fish: gatewayx completion fish | source
complete -c gatewayx -n __fish_use_subcommand -f -a ask -d 'call a model in one line; returns the reply'
complete -c gatewayx -n '__fish_seen_subcommand_from ask' -l system
complete -c gatewayx -n '__fish_seen_subcommand_from ask' -l temperature
complete -c gatewayx -n '__fish_seen_subcommand_from ask' -l max-tokens
complete -c gatewayx -n '__fish_seen_subcommand_from ask' -l effort
complete -c gatewayx -n '__fish_seen_subcommand_from ask' -l image
complete -c gatewayx -n '__fish_seen_subcommand_from ask' -l param
complete -c gatewayx -n '__fish_seen_subcommand_from ask' -l timeout
complete -c gatewayx -n '__fish_seen_subcommand_from ask' -l allow-unpriced
complete -c gatewayx -n '__fish_seen_subcommand_from ask' -l tools
complete -c gatewayx -n '__fish_seen_subcommand_from ask' -l max-cost
complete -c gatewayx -n '__fish_seen_subcommand_from ask' -l fresh
complete -c gatewayx -n '__fish_seen_subcommand_from ask' -l renew
complete -c gatewayx -n '__fish_seen_subcommand_from ask' -l fallback
complete -c gatewayx -n '__fish_seen_subcommand_from ask' -l schema
complete -c gatewayx -n '__fish_seen_subcommand_from ask' -l cassette
complete -c gatewayx -n '__fish_seen_subcommand_from ask' -l json
complete -c gatewayx -n '__fish_seen_subcommand_from ask' -l no-stream
complete -c gatewayx -n '__fish_seen_subcommand_from ask' -l dry-run
complete -c gatewayx -n '__fish_seen_subcommand_from ask' -l quiet
complete -c gatewayx -n '__fish_seen_subcommand_from ask' -l help
complete -c gatewayx -n __fish_use_subcommand -f -a cassette -d 'describe a file of recorded replies'
complete -c gatewayx -n '__fish_seen_subcommand_from cassette' -l prune
complete -c gatewayx -n __fish_use_subcommand -f -a completion -d 'print the completion script of a shell'
complete -c gatewayx -n '__fish_seen_subcommand_from completion' -a bash
complete -c gatewayx -n '__fish_seen_subcommand_from completion' -a zsh
complete -c gatewayx -n '__fish_seen_subcommand_from completion' -a fish
complete -c gatewayx -n '__fish_seen_subcommand_from completion' -a engines
complete -c gatewayx -n __fish_use_subcommand -f -a doctor -d 'check what a call needs, and say what to do'
complete -c gatewayx -n __fish_use_subcommand -f -a eval -d 'score prompts and models on the rows of a file'
complete -c gatewayx -n '__fish_seen_subcommand_from eval' -l prompt
complete -c gatewayx -n '__fish_seen_subcommand_from eval' -l model
complete -c gatewayx -n '__fish_seen_subcommand_from eval' -l scorer
complete -c gatewayx -n '__fish_seen_subcommand_from eval' -l judge
complete -c gatewayx -n '__fish_seen_subcommand_from eval' -l judge-model
complete -c gatewayx -n '__fish_seen_subcommand_from eval' -l expected
complete -c gatewayx -n '__fish_seen_subcommand_from eval' -l id
complete -c gatewayx -n '__fish_seen_subcommand_from eval' -l cluster
complete -c gatewayx -n '__fish_seen_subcommand_from eval' -l samples
complete -c gatewayx -n '__fish_seen_subcommand_from eval' -l at-least
complete -c gatewayx -n '__fish_seen_subcommand_from eval' -l at-most
complete -c gatewayx -n '__fish_seen_subcommand_from eval' -l no-worse-than
complete -c gatewayx -n '__fish_seen_subcommand_from eval' -l margin
complete -c gatewayx -n '__fish_seen_subcommand_from eval' -l system
complete -c gatewayx -n '__fish_seen_subcommand_from eval' -l temperature
complete -c gatewayx -n '__fish_seen_subcommand_from eval' -l max-tokens
complete -c gatewayx -n '__fish_seen_subcommand_from eval' -l effort
complete -c gatewayx -n '__fish_seen_subcommand_from eval' -l param
complete -c gatewayx -n '__fish_seen_subcommand_from eval' -l timeout
complete -c gatewayx -n '__fish_seen_subcommand_from eval' -l allow-unpriced
complete -c gatewayx -n '__fish_seen_subcommand_from eval' -l tools
complete -c gatewayx -n '__fish_seen_subcommand_from eval' -l max-cost
complete -c gatewayx -n '__fish_seen_subcommand_from eval' -l fresh
complete -c gatewayx -n '__fish_seen_subcommand_from eval' -l fallback
complete -c gatewayx -n '__fish_seen_subcommand_from eval' -l schema
complete -c gatewayx -n '__fish_seen_subcommand_from eval' -l missing
complete -c gatewayx -n '__fish_seen_subcommand_from eval' -l max-age
complete -c gatewayx -n '__fish_seen_subcommand_from eval' -l name
complete -c gatewayx -n '__fish_seen_subcommand_from eval' -l concurrency
complete -c gatewayx -n '__fish_seen_subcommand_from eval' -l cassette
complete -c gatewayx -n '__fish_seen_subcommand_from eval' -l quiet
complete -c gatewayx -n '__fish_seen_subcommand_from eval' -l help
complete -c gatewayx -n '__fish_seen_subcommand_from eval' -l save
complete -c gatewayx -n '__fish_seen_subcommand_from eval' -l save-baseline
complete -c gatewayx -n __fish_use_subcommand -f -a health -d 'check that engines work'
complete -c gatewayx -n __fish_use_subcommand -f -a help -d 'list the commands, or explain one'
complete -c gatewayx -n __fish_use_subcommand -f -a history -d 'show the latest calls and their cost'
complete -c gatewayx -n __fish_use_subcommand -f -a init -d 'create config/ and engines/ in this repository'
complete -c gatewayx -n __fish_use_subcommand -f -a key -d 'set a key (you are prompted) or remove it; import keys from a .env file'
complete -c gatewayx -n '__fish_seen_subcommand_from key' -a set
complete -c gatewayx -n '__fish_seen_subcommand_from key' -a remove
complete -c gatewayx -n '__fish_seen_subcommand_from key' -a import
complete -c gatewayx -n '__fish_seen_subcommand_from key' -l user
complete -c gatewayx -n '__fish_seen_subcommand_from key' -l new
complete -c gatewayx -n __fish_use_subcommand -f -a keys -d 'show which keys are set, and where'
complete -c gatewayx -n __fish_use_subcommand -f -a map -d 'ask a model about each row of a file'
complete -c gatewayx -n '__fish_seen_subcommand_from map' -l prompt
complete -c gatewayx -n '__fish_seen_subcommand_from map' -l model
complete -c gatewayx -n '__fish_seen_subcommand_from map' -l system
complete -c gatewayx -n '__fish_seen_subcommand_from map' -l temperature
complete -c gatewayx -n '__fish_seen_subcommand_from map' -l max-tokens
complete -c gatewayx -n '__fish_seen_subcommand_from map' -l effort
complete -c gatewayx -n '__fish_seen_subcommand_from map' -l param
complete -c gatewayx -n '__fish_seen_subcommand_from map' -l timeout
complete -c gatewayx -n '__fish_seen_subcommand_from map' -l allow-unpriced
complete -c gatewayx -n '__fish_seen_subcommand_from map' -l tools
complete -c gatewayx -n '__fish_seen_subcommand_from map' -l max-cost
complete -c gatewayx -n '__fish_seen_subcommand_from map' -l fresh
complete -c gatewayx -n '__fish_seen_subcommand_from map' -l fallback
complete -c gatewayx -n '__fish_seen_subcommand_from map' -l schema
complete -c gatewayx -n '__fish_seen_subcommand_from map' -l missing
complete -c gatewayx -n '__fish_seen_subcommand_from map' -l max-age
complete -c gatewayx -n '__fish_seen_subcommand_from map' -l name
complete -c gatewayx -n '__fish_seen_subcommand_from map' -l concurrency
complete -c gatewayx -n '__fish_seen_subcommand_from map' -l cassette
complete -c gatewayx -n '__fish_seen_subcommand_from map' -l quiet
complete -c gatewayx -n '__fish_seen_subcommand_from map' -l help
complete -c gatewayx -n '__fish_seen_subcommand_from map' -l force
complete -c gatewayx -n '__fish_seen_subcommand_from map' -l dry-run
complete -c gatewayx -n __fish_use_subcommand -f -a models -d 'list the models that can be called'
complete -c gatewayx -n '__fish_seen_subcommand_from models' -l live
complete -c gatewayx -n __fish_use_subcommand -f -a new -d 'create an engine file, settings entry or package'
complete -c gatewayx -n '__fish_seen_subcommand_from new' -l url
complete -c gatewayx -n '__fish_seen_subcommand_from new' -l package
complete -c gatewayx -n __fish_use_subcommand -f -a pull -d 'download a model that runs on this machine'
complete -c gatewayx -n '__fish_seen_subcommand_from pull' -l from
complete -c gatewayx -n '__fish_seen_subcommand_from pull' -l remove
complete -c gatewayx -n __fish_use_subcommand -f -a security -d 'show who can read keys and change code'
complete -c gatewayx -n __fish_use_subcommand -f -a serve -d 'serve other programs in the formats of OpenAI and Anthropic'
complete -c gatewayx -n '__fish_seen_subcommand_from serve' -l port
complete -c gatewayx -n '__fish_seen_subcommand_from serve' -l host
complete -c gatewayx -n '__fish_seen_subcommand_from serve' -l cassette
complete -c gatewayx -n __fish_use_subcommand -f -a settings -d 'show every setting, its value and what it means'
complete -c gatewayx -n __fish_use_subcommand -f -a status -d 'show every engine and what it needs'
complete -c gatewayx -n __fish_use_subcommand -f -a tools -d 'list the MCP servers and their tools'
complete -c gatewayx -n __fish_use_subcommand -f -a trust -d 'allow this project to use your keys or to run its own code; asks first'
complete -c gatewayx -n '__fish_seen_subcommand_from trust' -l show
complete -c gatewayx -n '__fish_seen_subcommand_from trust' -l revoke
complete -c gatewayx -n __fish_use_subcommand -f -a use -d 'save the default model'
complete -c gatewayx -n '__fish_seen_subcommand_from ask health key models status use' -a '(gatewayx completion engines 2>/dev/null)'
