#compdef swarmctl
# zsh completion of swarmctl. In ~/.zshrc, after compinit:  source <(swarmctl completion zsh)

_swarmctl() {
	local -a lines plain open
	local line value
	lines=("${(@f)$("${(Q)words[1]}" __complete "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null)}")
	if [[ ${lines[1]} == ":files" ]]; then
		_files
		return
	fi
	for line in ${lines:#}; do # without the empty line of no answer
		value=${${line%%$'\t'*}//:/\\:}
		[[ $line == *$'\t'* ]] && line="$value:${line#*$'\t'}" || line=$value
		if [[ $value == *[=.] ]]; then
			open+=("$line")
		else
			plain+=("$line")
		fi
	done
	_describe -t values value plain -- open -S ''
}
compdef _swarmctl swarmctl
