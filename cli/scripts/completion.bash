# bash completion of swarmctl. In ~/.bashrc:  source <(swarmctl completion bash)

_swarmctl() {
	# Bash splits words at = and : too; put together what stands together.
	local rest=${COMP_LINE:0:COMP_POINT} words=() word="" i
	for ((i = 0; i <= COMP_CWORD; i++)); do
		if ((i == 0)) || [[ $rest == [[:space:]]* ]]; then
			rest=${rest#"${rest%%[![:space:]]*}"}
			words+=("")
		fi
		word=${COMP_WORDS[i]:0:${#rest}}
		words[-1]+=$word
		rest=${rest:${#word}}
	done

	local lines=() line
	mapfile -t lines < <("${words[0]}" __complete "${words[@]:1}" 2>/dev/null)
	COMPREPLY=()
	if [[ ${lines[0]-} == ":files" ]]; then
		compopt -o default
		return
	fi
	# Only what follows the last = or : is replaced.
	[[ $word == [=:] ]] && word=""
	local kept=${words[-1]%"$word"}
	for line in "${lines[@]}"; do
		line=${line%%$'\t'*}
		COMPREPLY+=("${line#"$kept"}")
	done
	[[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[=.] ]] && compopt -o nospace
}
complete -F _swarmctl swarmctl
